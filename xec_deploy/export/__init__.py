"""Export of checkpoints to bundles; needs torch (the ``train`` extra)."""

from xec_deploy.export.export import export_bundle

__all__ = ["export_bundle"]
