-- KEYS: one string per tenant and model. ARGV: those of token.lua, then for each key how the channel begins, the model
-- and what is given for it.
-- Answers the tokens in that order, and the time.

local answer = {}

for i, key in ipairs(KEYS) do
  local channel_beginning, model, given = unpack(ARGV, 3 * i + 3, 3 * i + 5)
  local held = redis.pcall('GET', key) -- of a key that is no string, an error, which is no token
  local token = operate(held, given)
  if token ~= '' then
    local left = redis.call('PTTL', key)
    if token ~= held then
      redis.call('SET', key, token, 'PX', expiry)
      publish(channel_beginning, {model, token})
    elseif left == -1 or left > expiry then
      redis.call('PEXPIRE', key, expiry)
    end
  elseif operation == 'drop' then
    redis.call('DEL', key)
    publish(channel_beginning, {model, '-'})
  end
  answer[i] = token
end

table.insert(answer, closing())
return answer
