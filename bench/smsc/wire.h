/* What both programs here need: growing buffers, numbers of SMPP, the clock. */
#ifndef WIRE_H
#define WIRE_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BIND_RECEIVER = 0x01, BIND_TRANSMITTER = 0x02, SUBMIT_SM = 0x04, DELIVER_SM = 0x05, UNBIND = 0x06,
    BIND_TRANSCEIVER = 0x09, ENQUIRE_LINK = 0x15, HEADER = 16,
};
#define RESPONSE 0x80000000u
#define GENERIC_NACK 0x80000000u

typedef struct { char *bytes; size_t from, to, size; } Buffer;

/* Make room for `count` bytes behind what is there, and return where they go. */
static inline char *room(Buffer *buffer, size_t count)
{
    if (buffer->from == buffer->to)
        buffer->from = buffer->to = 0;
    if (buffer->size - buffer->to < count && buffer->from > 0) {
        memmove(buffer->bytes, buffer->bytes + buffer->from, buffer->to - buffer->from);
        buffer->to -= buffer->from;
        buffer->from = 0;
    }
    if (buffer->size - buffer->to < count) {
        size_t wanted = buffer->size ? buffer->size * 2 : 8192;
        while (wanted - buffer->to < count)
            wanted *= 2;
        buffer->bytes = realloc(buffer->bytes, wanted);
        if (buffer->bytes == NULL)
            abort();
        buffer->size = wanted;
    }
    return buffer->bytes + buffer->to;
}

static inline void append(Buffer *buffer, const void *bytes, size_t count)
{
    memcpy(room(buffer, count), bytes, count);
    buffer->to += count;
}

static inline size_t filled(const Buffer *buffer) { return buffer->to - buffer->from; }

static inline uint32_t number_at(const char *at)
{
    const unsigned char *octets = (const unsigned char *)at;
    return (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 | (uint32_t)octets[2] << 8 | octets[3];
}

static inline void write_number(char *at, uint32_t value)
{
    for (int place = 3; place >= 0; place--, value >>= 8)
        at[place] = (char)(value & 0xFF);
}

static inline void append_pdu(Buffer *out, uint32_t command, uint32_t status, uint32_t sequence, const void *body,
                              size_t count)
{
    char *at = room(out, HEADER + count);
    write_number(at, (uint32_t)(HEADER + count));
    write_number(at + 4, command);
    write_number(at + 8, status);
    write_number(at + 12, sequence);
    if (count > 0)
        memcpy(at + HEADER, body, count);
    out->to += HEADER + count;
}

static inline double seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}
#endif
