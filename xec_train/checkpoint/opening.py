"""Opening a file written by ``torch.save`` without executing anything in it."""

from __future__ import annotations

import pickle
import re
import warnings
from os import PathLike
from typing import Any

import torch

from xec_deploy.errors import BundleError

__all__ = ["open_checkpoint"]


def open_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the dictionary in a checkpoint, its tensors on the CPU.

    Raises
    ------
    BundleError
        If there is no such file, it is none of ``torch.save``, holds no dictionary, or would
        execute code.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            # A bare pickle is refused below, in words of our own.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise BundleError("no such file", where=where) from error
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        if name is None:
            raise BundleError("not a checkpoint written by torch.save", where=where) from error
        raise BundleError(
            f"refused: opening the file would execute code ({name[1]})",
            where=where,
            fix="Save only tensors, numbers, strings, lists and dictionaries.",
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read the file ({error.strerror})", where=where) from error
    # What torch raises for a file that is no checkpoint depends on its first bytes.
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BundleError("not a checkpoint written by torch.save", where=where) from error
    if not isinstance(content, dict):
        raise BundleError("not a checkpoint: the file holds no dictionary", where=where)
    return content
