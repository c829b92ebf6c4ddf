"""The one type of error that is meant for people."""


class UserError(Exception):
    """Something the user can mend: one line that names it and says what to do.

    Commands print the text after `libra: error:` and exit with code 2; a traceback
    is for defects of the program only.
    """
