"""Events: from files to batches, and from results to files."""

from xec_deploy.events.batch import EventBatch, SensorArrays
from xec_deploy.events.branches import BranchNames
from xec_deploy.events.checksum import FileWatch, file_checksum
from xec_deploy.events.column import Column
from xec_deploy.events.dead import DeadChannels, dead_channels
from xec_deploy.events.inputs import InputFile, expand_inputs, parse_input
from xec_deploy.events.reader import EventFile, open_events
from xec_deploy.events.truth import TRUTH_BRANCHES, find_truth
from xec_deploy.events.writer import EventWriter, NTupleWriter, ResultWriter

__all__ = [
    "TRUTH_BRANCHES",
    "BranchNames",
    "Column",
    "DeadChannels",
    "EventBatch",
    "EventFile",
    "EventWriter",
    "FileWatch",
    "InputFile",
    "NTupleWriter",
    "ResultWriter",
    "SensorArrays",
    "dead_channels",
    "expand_inputs",
    "file_checksum",
    "find_truth",
    "open_events",
    "parse_input",
]
