-- Takes from token buckets, all or none. The arithmetic is that of bucket.py; a contract test holds the two equal.
--
-- KEYS: the buckets, on a cluster all with the same hash tag.
-- ARGV: the time in microseconds, then for each bucket what it holds when full (grains), what it gains (grains per
--       microsecond) and what to take (grains). An empty time stands for the server's clock; only tests send another.
-- Returns 1 or 0 for allowed, the microseconds until the same would pass, then what each bucket holds now (grains).
--
-- A bucket is kept as "<grains> <time>" and expires when it is full, since one that is not there is full.

local SLACK_MILLIS = 1000 -- the clock that expires keys may be a little ahead after a failover

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local buckets, allowed, wait = {}, 1, 0
for i, key in ipairs(KEYS) do
  local bucket = {
    key = key,
    full = tonumber(ARGV[3 * i - 1]),
    gain = tonumber(ARGV[3 * i]),
    cost = tonumber(ARGV[3 * i + 1]),
  }
  local grains, at = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  bucket.grains = bucket.full
  if grains then
    bucket.grains = math.min(bucket.full, grains + math.max(0, now - at) * bucket.gain)
    bucket.from_the_future = tonumber(at) > now
  end
  if bucket.grains < bucket.cost then
    allowed = 0
    wait = math.max(wait, math.ceil((bucket.cost - bucket.grains) / bucket.gain))
  end
  buckets[i] = bucket
end

local answer = {allowed, wait}
for _, bucket in ipairs(buckets) do
  if allowed == 1 then
    bucket.grains = bucket.grains - bucket.cost
  end
  -- A refusal writes nothing. But when the clock stepped back, the bucket would be frozen until the old time comes again.
  if (allowed == 1 and bucket.cost > 0) or bucket.from_the_future then
    local millis = math.ceil((bucket.full - bucket.grains) / bucket.gain / 1000) + SLACK_MILLIS
    redis.call('SET', bucket.key, string.format('%.0f %.0f', bucket.grains, now), 'PX', string.format('%.0f', millis))
  end
  answer[#answer + 1] = bucket.grains
end
return answer
