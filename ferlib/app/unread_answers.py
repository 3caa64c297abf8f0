"""Answers that wait until their visitors fetch them, by session: of so many sessions, and of each so many.

Gradio keeps them until the stream is read, and forgets the oldest sessions when there are many: also one whose long
list of photos is being looked at. Here those go first that lose nothing, and none that is being answered goes.
"""

import asyncio

from gradio.queueing import Queue

from ferlib.app.answer_streams import AnswerStreams

SESSIONS = 256
UNREAD = 200  # answers, and words on progress, that a session may leave before it asks anew


class UnreadAnswers(dict[str, asyncio.Queue]):
    """For Gradio's `pending_messages_per_session`: session -> the messages that its stream will bring.

    Args:
        queue: Gradio's, which knows what is being worked on.
        streams: those that are open.
    """

    def __init__(self, queue: Queue, streams: AnswerStreams):
        super().__init__()
        self.queue, self.streams = queue, streams

    def __setitem__(self, session: str, messages: asyncio.Queue) -> None:
        """Begin a session; another one is forgotten if there are many."""
        if session not in self and len(self) >= SESSIONS:
            self._forget_one()
        super().__setitem__(session, messages)

    def __delitem__(self, session: str) -> None:
        """Forget a session, and which of its questions are open: Gradio keeps those of visitors who leave."""
        super().__delitem__(session)
        self.queue.pending_event_ids_session.pop(session, None)

    def is_full(self, session: str) -> bool:
        """True if a session has left so much unread that it may ask nothing more, and nothing goes on for it."""
        return session in self and self[session].qsize() > UNREAD

    def _forget_one(self) -> None:
        busy = {event.session_hash for event in list(self.queue.event_ids_to_events.values())}
        idle = [one for one in self if one not in busy and not self.streams.is_open(one)]
        session = next((one for one in idle if self[one].empty()), idle[0] if idle else None)
        if session is not None:
            del self[session]
