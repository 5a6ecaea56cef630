#!/usr/bin/env bash
# The main routes with curl, good and bad, against a running archive. `make demo PHOTOS=DIR`, then
#   . var/env.sh
#   FILE=photos/a.jpg PHOTO=DIR/a.jpg bash docs/curl.sh > curl.md && mv curl.md docs/
set -u
: "${URL:?}" "${KEY:?}" "${FILE:?a photo as <root>/<path>}" "${PHOTO:?a photo file to upload}"
work=$(mktemp -d)
order=order-$$-$RANDOM  # shown as order-17: a deleted query's key stays used
trap 'rm -rf "$work"' EXIT

show() {  # title, then curl's arguments
  local title=$1
  shift
  printf '\n### %s\n\n```\n$ curl' "$title"
  printf " '%s'" "$@" | sed -E -e "s#'([-A-Za-z0-9_./:=@]+)'#\\1#g" -e "s#$work/##g" -e "s#$PHOTO#cat.png#g" -e "s#$order#order-17#g" -e "s#${URL//\\/}#\$URL#g" -e "s#'(\\\$URL[^']*)'#\"\1\"#g" -e "s#$KEY#\$KEY#g" -e "s#${ADMIN:-$KEY}#\$ADMIN#g" -e "s#'X-API-Key: .(KEY|ADMIN)'#\"X-API-Key: \$\1\"#"
  printf '\n'
  curl -s -o "$work/body" -w '%{http_code} %{content_type}\n' "$@" </dev/null
  if grep -qI . "$work/body"; then head -c 900 "$work/body" | sed -e "s#$order#order-17#g" -e "s#$URL#\$URL#g" -e "s#$KEY#\$KEY#g"; else
    printf '(%s bytes)' "$(stat -c %s "$work/body")"; fi
  printf '\n```\n'
}
field() { "${PYTHON:-python3}" -c "import json,sys; d=json.load(open('$work/body')); print(d$1)"; }
auth=(-H "X-API-Key: $KEY")
admin=(-H "X-API-Key: ${ADMIN:-$KEY}")  # of the scope admin, if there is one
json=(-H 'content-type: application/json')

echo "# The main routes, with curl"
echo
echo "Made by \`docs/curl.sh\` on a running \`make demo PHOTOS=DIR\`, which lets \`/tag/image\` read DIR as \`photos\`."
echo "\`\$URL\` stands for the archive's address, that of \`var/env.sh\`, in requests and answers; long answers are cut after 900 bytes."

echo; echo "## Photos"
show "Upload a photo" "${auth[@]}" -F "file=@$PHOTO" "$URL/images/upload"
image=$(field "['images'][0]['image_id']") || exit 1; token=$(field "['images'][0]['token']") || exit 1
show "The raw photo as body" "${auth[@]}" -H 'content-type: image/png' --data-binary "@$PHOTO" "$URL/images/upload?filename=cat.png"
sleep 2
show "Its tags" "${auth[@]}" "$URL/images/$image"
show "Its bytes" "${auth[@]}" "$URL/images/$image/content"
show "The archive, page by page" "${auth[@]}" "$URL/images?limit=1&tag=cat"
show "Tag a file and wait" "${auth[@]}" "${json[@]}" -d "{\"image_path\": \"$FILE\"}" "$URL/tag/image"
show "With labels of its own" "${auth[@]}" "${json[@]}" -d "{\"image_path\": \"$FILE\", \"tags\": [\"cat\", \"tiger\"], \"top_k\": 1}" "$URL/tag/image"
show "Tag a directory" "${auth[@]}" "${json[@]}" -d "{\"directory_path\": \"${FILE%%/*}\"}" "$URL/tag/directory"
job=$(field "['job_id']") || exit 1
sleep 2
show "How far it is" "${auth[@]}" "$URL/jobs/$job"

show "What is like it" "${auth[@]}" "$URL/images/$image/similar"
show "The same bytes at several paths" "${auth[@]}" "$URL/duplicates?limit=2"
show "The same photo in several files" "${auth[@]}" "$URL/duplicates?level=same_photo&limit=2"
show "Tag by hand" "${auth[@]}" "${json[@]}" -X PATCH -d '{"tags": [{"tag": "cat"}, {"tag": "garden", "score": 0.5}]}' "$URL/images/$image"
show "Give it back to the model" "${auth[@]}" "${json[@]}" -X PATCH -d '{"tags": null}' "$URL/images/$image"
show "The labels" "${auth[@]}" "$URL/labels"

echo; echo "## Queries"
show "Ask" "${auth[@]}" "${json[@]}" -H "Idempotency-Key: $order" -d '{"text": "кошки on the beach", "callback_url": "http://127.0.0.1:1099/hook"}' "$URL/images/tags"
query=$(field "['query_id']") || exit 1
show "Ask the same again" "${auth[@]}" "${json[@]}" -H "Idempotency-Key: $order" -d '{"text": "кошки on the beach", "callback_url": "http://127.0.0.1:1099/hook"}' "$URL/images/tags"
show "Another question under the same key" "${auth[@]}" "${json[@]}" -H "Idempotency-Key: $order" -d '{"text": "dogs", "callback_url": "http://127.0.0.1:1099/hook"}' "$URL/images/tags"
show "Read your own upload" "${auth[@]}" "${json[@]}" -d "{\"text\": \"cat\", \"callback_url\": \"http://127.0.0.1:1099/hook\", \"after\": \"$token\"}" "$URL/images/tags"
sleep 1
show "What came of it, attempts included" "${auth[@]}" "$URL/queries/$query?wait=2"
show "What was asked, page by page" "${auth[@]}" "$URL/queries?status=answered&limit=1"
show "Forget it, with its webhooks" "${auth[@]}" -X DELETE "$URL/queries/$query"
show "Its key stays used" "${auth[@]}" "${json[@]}" -H "Idempotency-Key: $order" -d '{"text": "кошки on the beach", "callback_url": "http://127.0.0.1:1099/hook"}' "$URL/images/tags"

echo; echo "## Deleting a photo"
show "Delete it" "${auth[@]}" -X DELETE "$URL/images/$image"
echo; echo 'A photo that a command, a watched folder or a topic brought in, and no key, is open to all: without the scope `admin` this is 403 `scope_missing`, and 404 only for a photo that the key may not see.'
show "It is gone" "${auth[@]}" "$URL/images/$image"

echo; echo "## Dead letters, with a key that may do so"
show "What was set aside" "${admin[@]}" "$URL/dead-letters?limit=1"
show "Put it back, or only count" "${admin[@]}" "${json[@]}" -d '{"topic": "images.arrived.v1", "dry_run": true}' "$URL/dead-letters/replay"

echo; echo "## Refused"
show "No key" "$URL/images/$image"
show "A wrong key" -H 'X-API-Key: pa_00000000_wrong' "$URL/images/$image"
printf 'GIF? no, text' > "$work/note.jpg"
show "Not an image" "${auth[@]}" -F "file=@$work/note.jpg" "$URL/images/upload"
head -c 31457280 /dev/zero > "$work/large.jpg"
show "30 MB where the limit is 25 MiB" "${auth[@]}" -F "file=@$work/large.jpg" "$URL/images/upload"
show "An unknown JSON field" "${auth[@]}" "${json[@]}" -d '{"text": "cat", "callback_url": "https://example.org/x", "colour": "red"}' "$URL/images/tags"
show "Not JSON" "${auth[@]}" "${json[@]}" -d '{"text": ' "$URL/images/tags"
show "A label that two photos are to teach" "${admin[@]}" "${json[@]}" -X PUT -d '{"labels": [{"name": "cat"}, {"name": "our dacha", "by_words": false, "photos": ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]}]}' "$URL/labels"
show "A path outside the allowed roots" "${auth[@]}" "${json[@]}" -d '{"image_path": "/etc/passwd"}' "$URL/tag/image"
show "A path that climbs out" "${auth[@]}" "${json[@]}" -d "{\"image_path\": \"${FILE%%/*}/../../etc/passwd\"}" "$URL/tag/image"
show "A callback to the cloud's metadata" "${auth[@]}" "${json[@]}" -d '{"text": "cat", "callback_url": "http://169.254.169.254/latest"}' "$URL/images/tags"
show "An unknown image" "${auth[@]}" "$URL/images/00000000-0000-0000-0000-000000000000"
show "An unknown query" "${auth[@]}" "$URL/queries/00000000-0000-0000-0000-000000000000"
show "An unknown job" "${auth[@]}" "$URL/jobs/00000000-0000-0000-0000-000000000000"
show "Not an id" "${auth[@]}" "$URL/images/cat"
show "A wrong method" "${auth[@]}" -X DELETE "$URL/images/upload"
show "An unknown path" "${auth[@]}" "$URL/nothing/here"

echo; echo "## Without a key"
show "Health" "$URL/health"
show "Alive" "$URL/livez"
show "Ready" "$URL/readyz"
show "The page" "$URL/"
show "Swagger UI" "$URL/docs"
show "OpenAPI" "$URL/openapi.json"
show "AsyncAPI" "$URL/asyncapi.json"
show "Metrics" "$URL/metrics"
