"""A failed request lets go of what it was to send.

urllib3 keeps the error of a try in a variable of the function that the error's traceback leads back to. That
circle holds the request's whole body until Python's collector finds it, which in the engine runs rarely
(`interpreter`): in an outage every try would leave its body behind.
"""

from __future__ import annotations

import traceback


def let_go(error: BaseException) -> None:
    """Empty the functions that have ended with an error, or with one that led to it."""
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
