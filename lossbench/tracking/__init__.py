"""What MLflow remembers: the only place that imports it.

MLflow reads its environment when it is imported, so what it may say and send is settled here.
Whoever set a variable beforehand keeps it.
"""

import os

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # results wait in the outbox, not in a retry
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask for an hour
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # failures reach the user as one line of TrackingError
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _key, _value in QUIET.items():
    os.environ.setdefault(_key, _value)
