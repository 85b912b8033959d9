"""The older name of `jobs/estimator.py gaze`."""

import sys

from cluster.job.estimators import run_estimator

if __name__ == "__main__":
    run_estimator(["gaze", *sys.argv[1:]])
