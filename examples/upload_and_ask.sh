#!/bin/sh
# sh examples/upload_and_ask.sh PHOTO TEXT [CALLBACK_URL], with URL and KEY of var/env.sh
set -eu
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)'"$1"')'; }
question() {
  python3 -c 'import json, sys; print(json.dumps(dict(zip(("text", "after", "callback_url"), sys.argv[1:]))))' "$@"
}

token=$(curl -sSf -H "X-API-Key: $KEY" -F "file=@$1" "$URL/images/upload" | field '["images"][0]["token"]')
query=$(question "$2" "$token" "${3:-http://127.0.0.1:9000/hook}" |
  curl -sSf -H "X-API-Key: $KEY" -H 'Content-Type: application/json' -d @- "$URL/images/tags" | field '["query_id"]')
curl -sSf -H "X-API-Key: $KEY" "$URL/queries/$query?wait=20" # the answer, and each attempt to deliver it
