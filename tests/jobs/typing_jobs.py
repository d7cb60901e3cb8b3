"""What a type checker makes of the doors for jobs and messages; nothing here is run."""

from typing import assert_type

from django_idempotency.consumers import once, process_once
from django_idempotency.steps import SteppedOperation
from django_idempotency.tasks import idempotent_task
from django_idempotency.values import Outcome


@idempotent_task
def bare(invoice: int, *, quick: bool = False) -> str:
    return f"{invoice} {quick}"


@idempotent_task(key="{invoice}", on_duplicate="skip")
async def with_arguments(invoice: int) -> str:
    return f"{invoice}"


@idempotent_task(key="{invoice}", steps=True, lease=30, keep_arguments=True)
def stepped(invoice: int, *, operation: SteppedOperation) -> int:
    return invoice


async def jobs() -> None:
    assert_type(bare(1, quick=True), str)
    assert_type(await with_arguments(1), str)
    assert_type(stepped(1), int)
    bare("1")  # type: ignore[arg-type]  # the signature is kept
    idempotent_task(on_duplicate="ignore")  # type: ignore[call-overload]  # there is no such choice
    idempotent_task(lease=30)  # type: ignore[call-overload]  # it comes with steps


def handle(*, operation: SteppedOperation) -> str:
    return operation.child_key("a")


def messages() -> None:
    assert_type(process_once("billing", "1", lambda: 1), Outcome[int | None])
    assert_type(process_once("billing", "1", handle, steps=True, keep_arguments=True), Outcome[str | None])
    with once("billing", None) as message:
        assert_type(message.should_run, bool)
