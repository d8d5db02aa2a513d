"""The parts that take questions, made of an agent's settings: its connection and its router."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from structlog.typing import FilteringBoundLogger

from edgeqa.broker import Broker
from edgeqa.client_ids import private_client_id
from edgeqa.mqtt import Limits, MqttLink
from edgeqa.packets import Outgoing, Subscription
from edgeqa.topics import DeviceTopics
from edgeqa_agent.answer_cache import AnswerCache, Expect
from edgeqa_agent.answer_cache_store import KeptAnswers
from edgeqa_agent.contexts import Contexts
from edgeqa_agent.intake import Intake, QuestionLimits
from edgeqa_agent.ledger import Ledger
from edgeqa_agent.meter import Meter, Offer
from edgeqa_agent.replies import Replies
from edgeqa_agent.router import Publisher, Router
from edgeqa_agent.settings import AgentSettings

# Unacknowledged questions that the broker may open with us beyond those we queue: room to refuse
# many at once with `busy` instead of leaving them, unheard, in the broker's queue.
_REFUSAL_ROOM = 1000


def agent_link(
    settings: AgentSettings,
    broker: Broker,
    *,
    birth: Callable[[], Outgoing],
    on_ready: Callable[[], None],
    will: Outgoing,
    subscriptions: Sequence[Subscription],
    log: FilteringBoundLogger,
) -> MqttLink:
    """The connection of an agent, not started."""
    open_questions = settings.queue_size + _REFUSAL_ROOM
    return MqttLink(
        broker=broker,
        client_id=private_client_id(f"edgeqa-agent-{settings.device}", settings),
        subscriptions=subscriptions,
        log=log,
        birth=birth,
        on_ready=on_ready,
        will=will,
        limits=Limits(
            session_expiry_s=settings.session_expiry_s,
            receive_maximum=open_questions,
            max_queued=2 * open_questions,
        ),
    )


def through_cache(settings: AgentSettings, offer: Offer, *, expect: Expect) -> Offer:
    """The same queue, behind what is kept of earlier answers, where the settings want that.

    Args:
        settings: of the agent.
        offer: hands questions to the model.
        expect: which model that would be.
    """
    if not settings.answer_cache_entries:
        return offer
    cache = AnswerCache(
        offer=offer,
        expect=expect,
        kept=KeptAnswers(
            most_entries=settings.answer_cache_entries,
            most_bytes=settings.answer_cache_mb << 20,
        ),
        most_followers=settings.queue_size,
    )
    return cache.offer


def question_router(
    settings: AgentSettings, link: Publisher, offer: Offer, meter: Meter, log: FilteringBoundLogger
) -> Router:
    """The router of an agent, with what it keeps.

    Args:
        settings: of the agent.
        link: answers go there.
        offer: hands questions to the model.
        meter: counts them.
        log: of the agent.
    """
    contexts = Contexts(
        max_texts=settings.max_contexts,
        max_bytes=settings.max_contexts_bytes,
        max_chars=settings.max_context_chars,
    )
    return Router(
        link=link,
        topics=DeviceTopics(settings.device),
        intake=Intake(
            limits=QuestionLimits(
                max_batch=settings.max_batch,
                max_payload_bytes=settings.max_payload_bytes,
                max_context_chars=settings.max_context_chars,
            ),
            stored_text=contexts.get,
        ),
        contexts=contexts,
        ledger=Ledger(capacity=settings.remembered_answers, keep_s=settings.remembered_s),
        replies=Replies(device=settings.device),
        offer=meter.through(offer),
        meter=meter,
        log=log,
    )
