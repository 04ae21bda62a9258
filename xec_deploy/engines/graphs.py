"""CUDA graphs through the driver's own functions, which PyCUDA does not have.

A batch then costs one launch instead of one for each of an engine's kernels.  Functions as in the
CUDA driver API, sections "Stream Management" and "Graph Management" (CUDA 11.4 and later).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from xec_deploy.engines.driver import NotCapturable

__all__ = ["StreamRecording", "record_stream"]

_THREAD_LOCAL: Final = 1
"""``CU_STREAM_CAPTURE_MODE_THREAD_LOCAL``: other slots' threads may go on meanwhile."""
_NEEDED: Final = (
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
)


class StreamRecording:
    """A recorded graph, ready to be launched on the stream it came from."""

    def __init__(self, library: Any, executable: ctypes.c_void_p, stream: int) -> None:
        self._library, self._stream = library, stream
        self._executable: ctypes.c_void_p | None = executable

    def launch(self) -> None:
        """Queue the graph on its stream.

        Raises
        ------
        NotCapturable
            If the driver refuses.
        """
        code = self._library.cuGraphLaunch(self._executable, ctypes.c_void_p(self._stream))
        _check(self._library, code, "cuGraphLaunch")

    def free(self) -> None:
        """Destroy the graph; the second call does nothing."""
        if self._executable is not None:
            self._library.cuGraphExecDestroy(self._executable)
            self._executable = None


def record_stream(library: Any, stream: int, work: Callable[[], None]) -> StreamRecording:
    """Record what ``work`` queues on a stream.

    Parameters
    ----------
    library
        The driver, loaded by :mod:`ctypes`.
    stream
        Handle of a stream that is not the default one; its context is that of this thread.
    work
        Queues work on this stream only.

    Raises
    ------
    NotCapturable
        If the driver is too old, or the work does what cannot be recorded.
    """
    missing = [name for name in _NEEDED if not hasattr(library, name)]
    if missing:
        raise NotCapturable(f"the driver has no {missing[0]}")
    handle = ctypes.c_void_p(stream)
    code = library.cuStreamBeginCapture_v2(handle, ctypes.c_int(_THREAD_LOCAL))
    _check(library, code, "cuStreamBeginCapture")
    graph = ctypes.c_void_p()
    problem: Exception | None = None
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the capture must be ended whatever happened
        problem = error
    code = library.cuStreamEndCapture(handle, ctypes.byref(graph))
    if problem is not None:
        if graph.value:
            library.cuGraphDestroy(graph)
        raise NotCapturable(str(problem)) from problem
    _check(library, code, "cuStreamEndCapture")
    executable = ctypes.c_void_p()
    code = library.cuGraphInstantiateWithFlags(
        ctypes.byref(executable), graph, ctypes.c_ulonglong(0)
    )
    # The executable is a copy.
    library.cuGraphDestroy(graph)
    _check(library, code, "cuGraphInstantiate")
    return StreamRecording(library, executable, stream)


def _check(library: Any, code: int, function: str) -> None:
    if code == 0:
        return
    name = ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(name))
    said = name.value.decode() if name.value else f"error {code}"
    raise NotCapturable(f"{function}: {said}")
