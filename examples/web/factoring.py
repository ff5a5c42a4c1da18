"""The task: prime factors. `taskq worker factoring:app` runs it."""

from __future__ import annotations

import taskq

app = taskq.App(queue="factoring")

# How many divisors are tried between two looks at whether somebody wants us to stop.
LOOK_COUNT = 100_000


@app.task(timeout=600)
def factor(number: int) -> list[int]:
    """The prime factors of a number from 2, smallest first, by trial division.

    Raises InterruptedError where it was cancelled; a large prime takes minutes.
    """
    task = taskq.current_task()
    found = []
    divisor = 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
        if divisor % LOOK_COUNT == 0 and task.is_cancelled:
            raise InterruptedError(f"cancelled at the divisor {divisor}")
    return [*found, number] if number > 1 else found
