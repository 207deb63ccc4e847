-- The log of invalidations as it is kept, for the scripts that this text is put in front of.
--
-- KEYS[1] is a sorted set of scopes by the generation of their latest invalidation, KEYS[2] a hash of the log's own
-- numbers. The hash counts the scopes: when either key was lost, the counts differ, and the log begins anew. Generations
-- are microseconds of the server's clock, or one more than the latest, which a double holds until the year 2255.

local FIELDS = {'life', 'latest', 'beginning', 'floor', 'scopes'}

local function text(number)
  return string.format('%.0f', number)
end

local function micros()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function write_log(log)
  redis.call('HSET', KEYS[2], 'life', log.life, 'latest', text(log.latest), 'beginning', text(log.beginning),
    'floor', text(log.floor), 'scopes', redis.call('ZCARD', KEYS[1]))
end

local function begin_log()
  local now = micros()
  local log = {life = text(now), latest = now, beginning = now, floor = 0}
  redis.call('DEL', KEYS[1], KEYS[2])
  write_log(log)
  return log
end

local function read_log()
  local kept = redis.call('HMGET', KEYS[2], unpack(FIELDS))
  if not kept[1] or tonumber(kept[#FIELDS]) ~= redis.call('ZCARD', KEYS[1]) then
    return begin_log()
  end
  local log = {life = kept[1]}
  for place = 2, #FIELDS - 1 do
    log[FIELDS[place]] = tonumber(kept[place])
  end
  return log
end

-- The life of the log in this run of the server: one that was restarted from a file, or that took over from another,
-- may have lost the end of it.
local function life_of(log)
  local server = redis.pcall('INFO', 'server')
  local run = type(server) == 'string' and string.match(server, 'run_id:(%x+)')
  return log.life .. '.' .. (run or '')
end

-- Changes whenever the log may know less of the past, or knows more of it.
local function epoch_of(log)
  return life_of(log) .. '.' .. text(log.beginning)
end

local function next_generation(log)
  log.latest = math.max(micros(), log.latest + 1)
  return log.latest
end

-- Drops the scopes up to the floor, and the oldest of more than `most`, up to which it raises the floor.
local function forget(log, most)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(log.floor))
  local excess = redis.call('ZCARD', KEYS[1]) - most
  if excess > 0 then
    local newest = redis.call('ZRANGE', KEYS[1], excess - 1, excess - 1, 'WITHSCORES')
    log.floor = tonumber(newest[2])
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, excess - 1)
  end
end
