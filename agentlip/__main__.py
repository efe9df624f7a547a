"""The command line: `python -m agentlip`, and the installed programs."""

import signal


def run(program: str = "agentlip") -> None:
    """Run the command line of this process and exit."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:  # while the modules are loaded Ctrl-C ends it without words, and not in the middle of one
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.main import main

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name=program)


def run_daemon() -> None:
    """The same under the name that other hubs have for up, down and status."""
    run("agentlipd")


if __name__ == "__main__":
    run()
