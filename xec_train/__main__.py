"""``python -m xec_train``, which torchrun starts in every process."""

from xec_train.cli.main import main

main()
