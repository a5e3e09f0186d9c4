---@meta moonclave.cluster
-- luacheck: ignore 111 112 113 131 212
-- What api.lua may ask of the cluster. For editors (LuaLS): never loaded.

---What went wrong. tostring(err) is for people, err.code for programs. An app's errors have its own code and fields.
---@class moonclave.error
---@field code string     "not_leader", "timeout" (the outcome is unknown), "unavailable", "overloaded" ...
---@field message string

---@class moonclave.propose_options
---@field timeout? number    seconds; default: the setting request_timeout_ms
---@field key? string|false  an idempotency key: done once under it. Default: the HTTP request's own Idempotency-Key,
---                          each command of the handler by its number; false: none
---@field session? integer   with sequence: done once in this session; the same again gets the first reply
---@field sequence? integer

---@class moonclave.query_options
---@field consistency? "linearizable"|"lease"|"stale"  default "linearizable"
---@field timeout? number                              seconds

---@class moonclave.cluster
local cluster = {}

---Puts a command through the log and waits until it is committed and applied. Only while a request is handled.
---@async
---@param command string     a name in fsm.commands
---@param arguments? any     plain data; nil is an empty table
---@param options? moonclave.propose_options
---@return any result        what the command returned
---@return moonclave.error? err
function cluster.propose(command, arguments, options) end

---@class moonclave.session_options
---@field attempts? integer  how often a command is sent while its outcome is not known; default 3

---A client of the cluster that numbers its commands: each is done once, however often it has to be sent. It may be kept
---and shared by handlers; past `window` commands under way it refuses (overloaded). Unused for `timeout` seconds of the
---replicated clock it expires: session_expired, and a new one is to be opened.
---@class moonclave.session
---@field id integer
---@field window integer
---@field timeout number
local session = {} -- luacheck: ignore 241

---As cluster.propose, within the session. "timeout" means that no attempt had an outcome.
---@async
---@param command string
---@param arguments? any
---@param options? { timeout?: number }  of each attempt, seconds
---@return any result
---@return moonclave.error? err
function session:propose(command, arguments, options) end

---Keeps it from expiring, and lets the cluster forget the replies it has.
---@async
---@return table? session
---@return moonclave.error? err
function session:renew() end

---@async
---@return table? closed
---@return moonclave.error? err
function session:close() end

---Opens a session. Only while a request is handled.
---@async
---@param options? moonclave.session_options
---@return moonclave.session? session
---@return moonclave.error? err
function cluster.session(options) end

---Asks a query and waits for its answer, which may be nil without an error. Only while a request is handled.
---@async
---@param query string       a name in fsm.queries
---@param arguments? any     plain data; nil is an empty table
---@param options? moonclave.query_options
---@return any result
---@return moonclave.error? err
function cluster.query(query, arguments, options) end

---Asks for something about the cluster itself, of its leader, and waits until it is done: "add" {id, address, learner?,
---labels?, force?}, "remove" {id}, "promote" {id}, "demote" {id}, "address" {id, address}, "priority" {id, priority},
---"labels" {id, labels}, "set" {voters}, "transfer" {id?}. "snapshot" is asked of this node itself: it takes one now.
---"config" {name = value} changes settings: the cluster's, or this node's own until it is restarted; a value is a
---number or a text ("64MiB").
---Only while a request is handled.
---@async
---@param action string
---@param arguments? table<string, any>
---@param options? { timeout?: number }
---@return any result        { index = of the configuration }, { leader = }, { index =, size = of the snapshot },
---                          { index = from which on the cluster's settings are in force } or { id = of this node }
---@return moonclave.error? err
function cluster.admin(action, arguments, options) end

---The HTTP status for an error: 503 and 429 were certainly not done, 504 is unknown. An app's own code is 409, unless
---it is the name of one that blames the request: "not_found" is 404.
---@param err moonclave.error|string
---@return integer status
function cluster.http_status(err) end

---What GET /v1/status shows: role, term, leader, indexes.
---@return table<string, any>
function cluster.status() end

---What GET /v1/members shows.
---@return table[]
function cluster.members() end

---@class moonclave.setting
---@field value integer
---@field default integer
---@field least integer
---@field most integer
---@field unit string           "ms", "bytes", "0 or 1" ...
---@field scope "cluster"|"node"
---@field source "default"|"file"|"flag"|"cluster"|"changed"
---@field index? integer        of the entry that changed it
---@field restart? string       why it cannot change while running
---@field started_with? integer what this node's flag says, where the cluster says something else
---@field help string

---What GET /v1/config shows: every setting, as this node knows it.
---@return { applied_index: integer, id: string, settings: table<string, moonclave.setting> }
function cluster.config() end

---Writes one line to the node's log, the values with spaces between them.
---@param level "debug"|"info"|"warn"|"error"
---@param ... any
function cluster.log(level, ...) end

return cluster
