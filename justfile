# Every rule is a test or a lint; these only save typing.
default: test lint
run:
    scripts/run
test *args:
    scripts/test {{args}}
lint:
    cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings
deny:
    cargo deny --locked check --hide-inclusion-graph licenses bans sources
advisories:
    cargo deny --locked check advisories
docs:
    cargo doc --locked --no-deps --document-private-items
ci:
    .ci/run
