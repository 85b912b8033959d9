"""The older name of `jobs/estimator.py joints`."""

import sys

from cluster.job.estimators import run_estimator

if __name__ == "__main__":
    run_estimator(["joints", *sys.argv[1:]])
