-- KEYS: one hash per tenant, whose fields are models and hold a token and the millisecond at which it is forgotten.
-- ARGV: those of token.lua, then for each key the number of its models, the models, and what is given for each.
-- Answers the tokens in that order, and the time. The channel on which its changes are published begins with a key.

local answer = {}
local at = 6
local latest = milliseconds + expiry

local function parse(value)
  if type(value) ~= 'string' then
    return nil
  end
  local token, ends = string.match(value, '^(%d+) (%d+)$')
  if is_token(token) and tonumber(ends) > milliseconds then
    return token, tonumber(ends)
  end
end

for _, key in ipairs(KEYS) do
  local count = tonumber(ARGV[at])
  local models = {unpack(ARGV, at + 1, at + count)}
  local values = {}
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then
    values = redis.call('HMGET', key, unpack(models))
  elseif kind ~= 'none' then
    redis.call('DEL', key)
  end
  local changed = {}
  local news = {}
  for i, model in ipairs(models) do
    local held, ends = parse(values[i])
    local token = operate(held, ARGV[at + count + i])
    -- A token's life begins when it is made, and no other's makes it longer.
    if token ~= '' and (token ~= held or ends > latest) then
      table.insert(changed, model)
      table.insert(changed, string.format('%s %.0f', token, latest))
    end
    if operation == 'drop' then
      redis.call('HDEL', key, model)
      table.insert(news, model)
      table.insert(news, '-')
    elseif token ~= '' and token ~= held then
      table.insert(news, model)
      table.insert(news, token)
    end
    table.insert(answer, token)
  end
  if #changed > 0 then
    redis.call('HSET', key, unpack(changed))
  end
  -- The key goes when its last token is forgotten.
  local left = redis.call('PTTL', key)
  if left == -1 or (#changed > 0 and left < expiry) then
    redis.call('PEXPIRE', key, expiry)
  end
  publish(key, news)
  at = at + 1 + 2 * count
end

table.insert(answer, closing())
return answer
