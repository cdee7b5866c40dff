"""The errors for users: what is wrong, and what to type instead."""


class UserError(Exception):
    """A wrong request. The command line prints it without a traceback and exits with code 2.

    `message` says what is wrong and where. The optional `hint` says what is allowed or what to type.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class NotNow(UserError):
    """The same request may succeed later: another node is late, or another run is still active.

    A scheduler's job ends with exit code 75 then, so that it may be started anew.
    """
