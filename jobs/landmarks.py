"""The older name of `jobs/estimator.py landmarks`."""

import sys

from cluster.job.estimators import run_estimator

if __name__ == "__main__":
    run_estimator(["landmarks", *sys.argv[1:]])
