"""What can go wrong with a sweep, apart from what a record's status says."""


class UserError(ValueError):
    """Something the user can put right, said in one line; the command line exits with 2."""


class StoppedError(Exception):
    """The sweep had to stop; what is done is kept."""


class CodeChangedError(StoppedError):
    """A file that the run uses was edited while it ran."""


class WorkerDiedError(Exception):
    """The process that computed a cell ended before the cell did."""


class DamagedError(Exception):
    """A record file that is not, byte for byte, what was written."""
