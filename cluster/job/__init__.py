from cluster.job.packages import require_own_packages

require_own_packages()
