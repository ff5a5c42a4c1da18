"""An app of one task, to see the cluster work."""

import time

import taskq

app = taskq.App(queue="shop")


@app.task(max_retries=5)
def greet(name, times=1, secs=0):
    """As many greetings as were asked for, after so many seconds of work."""
    time.sleep(secs)
    return ["Hello, " + name] * times
