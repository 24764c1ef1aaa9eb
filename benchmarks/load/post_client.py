"""Posts one body back to back over one connection and counts the statuses.

python -m benchmarks.load.post_client PORT PATH BODY_FILE SECONDS
"""

import http.client
import json
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.load.asyncio_load import MS_PER_S, percentile


def main() -> None:
    """Posts as the arguments say and prints the result."""
    port, path, body_file, seconds = sys.argv[1:]
    body = Path(body_file).read_bytes()
    statuses: Counter[int] = Counter()
    durations_ms: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    end_s = time.perf_counter() + float(seconds)
    while time.perf_counter() < end_s:
        started_s = time.perf_counter()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        durations_ms.append((time.perf_counter() - started_s) * MS_PER_S)
        statuses[answer.status] += 1
    connection.close()
    result = {
        "statuses": {str(status): count for status, count in statuses.items()},
        "p50_ms": percentile(sorted(durations_ms), 50),
    }
    sys.stdout.write(f"RESULT {json.dumps(result)}\n")


if __name__ == "__main__":
    main()
