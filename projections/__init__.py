"""Views: what the facts mean, as pure folds over events.

A fold has no clock, no randomness, no files, no network and no logging; time and policy are arguments. Two modules
keep results on disk, `projections.index` and `projections.checkpoint`, and these are disposable. Never import `turnlog`
here.
"""

from projections.checkpoint import Checkpoints
from projections.conversations import CONVERSATIONS, Conversation, Conversations
from projections.delivery import DELIVERY, is_counted
from projections.delivery_state import (
    OPERATOR,
    STATE_NAMES,
    UNDELIVERED,
    Buffer,
    Delivery,
    Failure,
    Pause,
    SinkState,
    Try,
)
from projections.driver import Live, fold_all, replay
from projections.fold import Fold
from projections.index import Gist, Index, Known, Place, Revision, content_digest, gist_of, message_names
from projections.notices import NOTICES, Notice, Notices, open_notices
from projections.policy import (
    ProbePolicy,
    RetryDecision,
    RetryPolicy,
    decide,
    delay_seconds,
    due_at,
    eligible,
    is_open,
    is_probed,
    next_attempt_at,
    next_probe_at,
    waits_for,
)
from projections.revisions import Standing, standing
from projections.sources import SOURCES, Sources, SourceState, StreamState
from projections.statistics import STATISTICS, SinkCounts, Statistics
from projections.turns import Lane, Turns

__all__ = [
    "CONVERSATIONS",
    "DELIVERY",
    "NOTICES",
    "OPERATOR",
    "SOURCES",
    "STATE_NAMES",
    "STATISTICS",
    "UNDELIVERED",
    "Buffer",
    "Checkpoints",
    "Conversation",
    "Conversations",
    "Delivery",
    "Failure",
    "Fold",
    "Gist",
    "Index",
    "Known",
    "Lane",
    "Live",
    "Notice",
    "Notices",
    "Pause",
    "Place",
    "ProbePolicy",
    "RetryDecision",
    "RetryPolicy",
    "Revision",
    "SinkCounts",
    "SinkState",
    "SourceState",
    "Sources",
    "Standing",
    "Statistics",
    "StreamState",
    "Try",
    "Turns",
    "content_digest",
    "decide",
    "delay_seconds",
    "due_at",
    "eligible",
    "fold_all",
    "gist_of",
    "is_counted",
    "is_open",
    "is_probed",
    "message_names",
    "next_attempt_at",
    "next_probe_at",
    "open_notices",
    "replay",
    "standing",
    "waits_for",
]
