"""The page for programs: photos by plain HTTP, typed answers, refusals as problems (RFC 9457). See docs/api.md."""
