"""What a TaskGroup raises, without its wrapping."""


def leaves(group: BaseExceptionGroup) -> list[BaseException]:
    """List the errors in a group and in the groups that it holds."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
