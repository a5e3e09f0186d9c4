/*
 * Addresses of the client library's connections: HOST:PORT, [IPv6]:PORT, unix:/path, /path. A part of channel.c.
 */
#ifndef MOONCLAVE_MODULE_CHANNEL_ADDRESS_H
#define MOONCLAVE_MODULE_CHANNEL_ADDRESS_H

#include "raft/configuration.h"

#include <lauxlib.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int failure(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* The path of "unix:/path" or "/path"; null: it is none. */
static const char *unix_path(const char *address)
{
    if (strncmp(address, "unix:", 5) == 0) return address + 5;
    return address[0] == '/' ? address : NULL;
}

static int lookup(const char *address, int flags, struct addrinfo **list)
{
    char host[ADDRESS_MAX + 1], service[8];
    uint16_t port;
    if (!raft_address_split(address, host, &port) || port == 0) return EAI_NONAME;
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, service, &hints, list);
}

static int resolve(lua_State *L)
{
    const char *address = luaL_checkstring(L, 1);
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    struct addrinfo *list = NULL;
    lua_settop(L, 2);
    lua_newtable(L);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    if (unix_path(address)) return 1;
    if (!raft_address_split(address, host, &port) || port == 0)
        return failure(L, "not an address: it is HOST:PORT, as in 127.0.0.1:5001, or the path of a unix socket");
    int status = lookup(address, AI_NUMERICHOST, &list);
    if (status != 0 && lua_toboolean(L, 2)) {
        lua_pushnil(L), lua_pushnil(L);
        lua_pushstring(L, host);
        lua_pushinteger(L, port);
        return 4;
    }
    if (status != 0) status = lookup(address, 0, &list);
    if (status != 0) {
        lua_pushnil(L);
        lua_pushfstring(L, "the host is not known: %s", gai_strerror(status));
        return 2;
    }
    lua_Integer count = 0;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        char number[NI_MAXHOST], service[NI_MAXSERV];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, number, sizeof number, service, sizeof service,
                        NI_NUMERICHOST | NI_NUMERICSERV) != 0)
            continue;
        lua_pushfstring(L, at->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", number, service);
        lua_rawseti(L, -2, ++count);
    }
    freeaddrinfo(list);
    return 1;
}

/* A port of this machine to which nobody listens may be given to the very socket that connects to it: then it has
 * connected to itself. */
static bool talks_to_itself(int fd)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_size = sizeof own, peer_size = sizeof peer;
    if (getsockname(fd, (struct sockaddr *)&own, &own_size) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_size) != 0)
        return false;
    return own.ss_family != AF_UNIX && own_size == peer_size && memcmp(&own, &peer, own_size) == 0;
}

#endif
