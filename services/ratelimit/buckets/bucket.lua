-- Token buckets as they are kept, for the scripts that this text is put in front of. The arithmetic is bucket.py's.
--
-- A bucket is kept as "<grains> <time> <grains per token>" and expires when it is full, since one that is not there is
-- full. Times are microseconds.

local SLACK_MILLIS = 1000 -- the clock that expires keys may be a little ahead after a failover

-- The time that a test sent, else the server's.
local function time_now(sent)
  if sent ~= '' then
    return tonumber(sent)
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The grains that a bucket holds now, and whether its time is still to come, since the clock stepped back.
local function read_bucket(key, size, now)
  -- A value of another kind is nobody's bucket, and is written over.
  local kept = redis.pcall('GET', key)
  local grains, at, per_token = string.match(type(kept) == 'string' and kept or '', '^(-?%d+) (%d+) (%d+)$')
  if not grains then
    return size.full, false
  end
  grains, at, per_token = tonumber(grains), tonumber(at), tonumber(per_token)
  if per_token ~= size.per_token then
    grains = math.floor(grains / per_token) * size.per_token
  end
  return math.min(size.full, grains + math.max(0, now - at) * size.gain), at > now
end

local function write_bucket(key, size, grains, now)
  local millis = math.ceil((size.full - grains) / size.gain / 1000) + SLACK_MILLIS
  local kept = string.format('%.0f %.0f %.0f', grains, now, size.per_token)
  redis.call('SET', key, kept, 'PX', string.format('%.0f', millis))
end

-- How long a bucket with so many grains needs until it can pay.
local function time_to_gain(size, grains)
  return math.ceil(math.max(0, grains) / size.gain)
end
