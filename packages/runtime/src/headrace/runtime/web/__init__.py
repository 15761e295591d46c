"""What the four HTTP applications share: routes, access, problem documents, OpenAPI, probes and metrics."""
