"""Train a network that reads labels off images.

`python jobs/estimator.py KIND --synthetic ...`
"""

import sys

from cluster.job.estimators import run_estimator

if __name__ == "__main__":
    run_estimator(sys.argv[1:])
