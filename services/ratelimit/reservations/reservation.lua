-- One operation on a caller's reservations. The rules are reservation.py's; bucket.lua is put in front.
--
-- KEYS: the bucket of model tokens; the reservations' expiries (a sorted set) and tokens (a hash), by their names; the
--       mark of a settled name.
-- ARGV: the time, empty for the server's clock; the operation; the reservation's name; tokens; microseconds to live;
--       the limit of tokens: what the bucket holds when full, grains per token, gain per microsecond, all empty if
--       there is none, and 1 if it refuses; the limit of concurrent calls, empty if there is none, and 1 if it refuses.
-- Returns the outcome, the bucket's grains, how many reservations run, 1 if the bucket held too few tokens for this one,
-- and 1 if there was no place for it.

local NOTHING_DONE, DONE, NAME_SPENT = 0, 1, 2
local LONGEST_TTL, SETTLED_MILLIS = 3600000000, 3600000

local BUCKET, RUNNING, RESERVED, SETTLED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local operation, name = ARGV[2], ARGV[3]
local tokens, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
local size = ARGV[6] ~= '' and {full = tonumber(ARGV[6]), per_token = tonumber(ARGV[7]), gain = tonumber(ARGV[8])}
local tokens_refuse = ARGV[9] == '1'
local calls, calls_refuse = tonumber(ARGV[10]), ARGV[11] == '1'

local now = time_now(ARGV[1])
local grains, is_bucket_changed, is_expiry_changed = 0, false, false
if size then
  -- A bucket from the future is always written, or it would be frozen until then.
  grains, is_bucket_changed = read_bucket(BUCKET, size, now)
  grains = math.max(-size.full, grains)
end

-- Gives tokens to the bucket, or takes them: at most one capacity, and between a full bucket and as much debt.
local function give(count)
  if not size then
    return
  end
  local capacity = size.full / size.per_token
  local given = math.max(-capacity, math.min(capacity, count)) * size.per_token
  local left = math.max(-size.full, math.min(size.full, grains + given))
  is_bucket_changed = is_bucket_changed or left ~= grains
  grains = left
end

local function is_running(reservation)
  return redis.call('ZSCORE', RUNNING, reservation)
end

local function last_until(reservation, expires)
  redis.call('ZADD', RUNNING, string.format('%.0f', expires), reservation)
  is_expiry_changed = true
end

-- Removes a reservation. Returns the tokens that it took, nothing if it took none.
local function remove(reservation)
  local taken = tonumber(redis.call('HGET', RESERVED, reservation) or '')
  redis.call('HDEL', RESERVED, reservation)
  redis.call('ZREM', RUNNING, reservation)
  return taken
end

local function end_expired()
  for _, expired in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, '-inf', string.format('%.0f', now))) do
    give(remove(expired) or 0)
  end
  -- The clock stepped back; nothing lasts longer than it could if it was made now.
  local longest = string.format('(%.0f', now + LONGEST_TTL)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', RUNNING, longest, '+inf')) do
    last_until(late, now + LONGEST_TTL)
  end
end

local function reserve()
  if redis.call('EXISTS', SETTLED) == 1 then
    return NAME_SPENT
  end
  if is_running(name) then
    return DONE
  end
  -- A debt comes first, even if no tokens are asked for.
  local too_few = size and grains < tokens * size.per_token
  local no_place = calls and redis.call('ZCARD', RUNNING) >= calls
  if (too_few and tokens_refuse) or (no_place and calls_refuse) then
    return NOTHING_DONE, too_few, no_place
  end
  last_until(name, now + ttl)
  if size and not too_few then
    redis.call('HSET', RESERVED, name, ARGV[4])
    give(-tokens)
  end
  return DONE, too_few, no_place
end

local function renew()
  if not is_running(name) then
    return NOTHING_DONE
  end
  last_until(name, now + ttl)
  return DONE
end

local function settle()
  if not redis.call('SET', SETTLED, '', 'PX', SETTLED_MILLIS, 'NX') then
    return NOTHING_DONE
  end
  if is_running(name) then
    local taken = remove(name)
    if taken then
      give(taken - tokens)
    end
  else
    give(-tokens)
  end
  return DONE
end

local function peek()
  return DONE
end

-- Reservations are kept until the last has expired and the bucket would be full without what they give back.
local function keep()
  if is_bucket_changed then
    write_bucket(BUCKET, size, grains, now)
  end
  local last = redis.call('ZRANGE', RUNNING, -1, -1, 'WITHSCORES')[2]
  if last and (is_expiry_changed or is_bucket_changed) then
    local micros = math.max(tonumber(last) - now, size and time_to_gain(size, size.full - grains) or 0)
    local millis = string.format('%.0f', math.ceil(micros / 1000) + SLACK_MILLIS)
    redis.call('PEXPIRE', RUNNING, millis)
    redis.call('PEXPIRE', RESERVED, millis)
  end
end

end_expired()
local operations = {reserve = reserve, renew = renew, settle = settle, peek = peek}
local outcome, too_few, no_place = operations[operation]()
keep()
return {outcome, grains, redis.call('ZCARD', RUNNING), too_few and 1 or 0, no_place and 1 or 0}
