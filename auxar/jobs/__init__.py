"""Jobs of `auxar launch`: commands of auxar that Slurm, or this machine, runs at the same time and one after another.

Jobs are submitted by submitit. A job runs one command of auxar, and every command continues its own work, so a job that
was stopped simply runs again.
"""
