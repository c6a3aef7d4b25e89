"""All tests, in two processes side by side: on two cores one of them would be idle for half of the time.

The second one's output follows the first one's. Each has a PostgreSQL and folders of its own.
"""

import shutil
import subprocess
import sys
import tempfile

FIRST, SECOND = ("tests/e2e", "tests/unit"), ("tests/integration",)


def main() -> int:
    """0 only where all tests passed."""
    command = [sys.executable, "-m", "pytest"]
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen([*command, *SECOND], stdout=output, stderr=subprocess.STDOUT) as second:
            first = subprocess.run([*command, *FIRST], check=False).returncode
        output.seek(0)
        shutil.copyfileobj(output, sys.stdout.buffer)
        sys.stdout.flush()
    return first or second.returncode


if __name__ == "__main__":
    sys.exit(main())
