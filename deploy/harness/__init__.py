"""Runs what `kubectl kustomize` renders as containers on this machine, as Kubernetes would.

    rendering --objects--> pod_spec --PodPlan--> pod (one container, its probes, its end)
                                   stateful_set (who is started, replaced, in which order)
                                   eviction (the disruption budget)

No part of Kubernetes runs here, and none of its code: what the harness does is what the
documentation of Kubernetes promises. A field of a pod that it does not know is an error, so that
nothing is left out in silence.
"""
