"""What ends a command: a fault that is meant for people, or SIGTERM."""


class UserError(Exception):
    """Something the user can mend: one line that names it and says what to do.

    Commands print the text after `libra: error:` and exit with code 2; a traceback
    is for defects of the program only.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and nothing is lost by it.

    Attributes:
        exit_code: of the process: EX_TEMPFAIL of sysexits.h, since the same command
            goes on or begins again.
    """

    exit_code = 75


def terminate(*_: object) -> None:
    """Handles SIGTERM as Ctrl-C is, so that half-written files are cleaned up."""
    raise Terminated
