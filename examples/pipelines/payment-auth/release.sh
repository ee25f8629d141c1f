#!/bin/sh
# A release of payment-auth, stage by stage, for any machine that has sloburn's binary and can move traffic:
#
#     SLOBURN_URL=http://sloburn.monitoring:9797 ./release.sh 2026.44.0
#
# `./deploy.sh` is yours: it starts the version (`start`), routes a stage's traffic to it (`stage NAME`), makes it the stable
# one (`finish`), or takes it back (`undo`). Exit codes are those of `sloburn canary wait`: 0 promoted, 1 rolled back,
# 4 paused or undecided, 5 timeout.
set -eu
service=payment-auth
version=$1
deploy=${DEPLOY:-./deploy.sh}

# With the error budget spent, nothing starts. Before the first figures (4) there is nothing to hold against it.
sloburn gate --service "$service" || test $? -eq 4
sloburn canary start "$service" "$version" --reason "${REASON:-release $version}"

took_back=0
undo() {
    code=$?
    if [ "$code" -ne 0 ] && [ "$took_back" -eq 0 ]; then
        took_back=1
        "$deploy" undo "$version"
    fi
    exit "$code"
}
trap undo EXIT
trap 'exit 130' INT TERM

"$deploy" start "$version"
for stage in internal test-merchants 5% 25% 50%; do
    "$deploy" stage "$stage" "$version"
    sloburn canary wait --service "$service" --version "$version" --step "$stage" --timeout 8h --every "${EVERY:-5s}"
done
"$deploy" finish "$version"
