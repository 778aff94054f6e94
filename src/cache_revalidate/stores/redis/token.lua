-- The token of cache_revalidate/token.py: 16 digits of microseconds, max(previous + 1, now), then 4 random ones.
-- The random digits are passed in, because math.random is seeded alike in every run of a script.

local operation = ARGV[1] -- 'read' and 'bump' are given random digits, 'raise' a token, 'peek' and 'drop' nothing
local expiry = tonumber(ARGV[2]) -- milliseconds
local deadline = tonumber(ARGV[3]) -- of a 'raise', in milliseconds since 1970; 0 for none
local publish_command = ARGV[4] -- in a cluster SPUBLISH, which the nodes of the key's slot alone hear
local channel_end = ARGV[5] -- which tells the databases apart
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local milliseconds = math.floor(now / 1000)

-- Each answer ends with the time. A raise that comes after its caller has given up is not carried out.
if deadline > 0 and milliseconds > deadline then
  return {string.format('%.0f', milliseconds)}
end

local function is_token(value)
  return type(value) == 'string' and #value == 20 and string.find(value, '^[0-8]%d+$') ~= nil
end

local function next_token(previous, random)
  local clock = now
  if is_token(previous) then
    clock = math.max(string.sub(previous, 1, 16) + 1, now)
  end
  return string.format('%016.0f', clock) .. random
end

-- Returns the token that is to be held from now on; an empty string for none.
local function operate(held, given)
  if operation == 'drop' then
    return ''
  elseif operation == 'bump' or (operation == 'read' and not is_token(held)) then
    return next_token(held, given)
  elseif operation == 'raise' and (not is_token(held) or held < given) then
    return given
  end
  return is_token(held) and held or ''
end


-- Tells those who listen of models and their new tokens, '-' for none. A user who may not publish may still bump.
local refusal = ''
local function publish(channel_beginning, news)
  if #news > 0 then
    local answer = redis.pcall(publish_command, channel_beginning .. channel_end, table.concat(news, ' '))
    if type(answer) == 'table' and answer.err then
      refusal = ' ' .. answer.err
    end
  end
end

-- What each answer ends with.
local function closing()
  return string.format('%.0f', milliseconds) .. refusal
end
