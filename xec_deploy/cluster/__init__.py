"""More than one machine: job arrays of Slurm, and Dask."""
