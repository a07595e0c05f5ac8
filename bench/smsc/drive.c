/*
 * What the simulator of smsc.c can do at most: a client that thinks about nothing.
 *
 *   drive SMPP_PORT HTTP_PORT WINDOW SECONDS
 *
 * It keeps WINDOW submit_sm without an answer, answers each receipt, and posts one callback of the usual size for it
 * over one of 32 kept connections. It prints the messages a second that went the whole way.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HTTP_CONNECTIONS = 32, BEHIND_MAX = 4000 };

static int connected(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("drive");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void send_out(int fd, Buffer *out)
{
    while (filled(out) > 0) {
        ssize_t sent = write(fd, out->bytes + out->from, filled(out));
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent <= 0)
            exit(1);
        out->from += (size_t)sent;
    }
}

static size_t submit_body(char *body, unsigned long number)
{
    static const char text[] = "Your appointment is tomorrow at ten. Reply C to cancel.";
    size_t at = 0;
    body[at++] = 0;
    at += (size_t)sprintf(body + at, "%c%c%s", 1, 1, "15005550006") + 1;
    at += (size_t)sprintf(body + at, "%c%c1415%07lu", 1, 1, number % 10000000) + 1;
    memset(body + at, 0, 5);
    at += 5;
    body[at++] = 1;
    memset(body + at, 0, 3);
    at += 3;
    body[at++] = sizeof text - 1;
    memcpy(body + at, text, sizeof text - 1);
    return at + sizeof text - 1;
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    long window = atol(arguments[3]), open = 0, owed = 0;
    double length = atof(arguments[4]);
    unsigned long submitted = 0, called = 0;
    int smpp = connected(arguments[1]), is_idle[HTTP_CONNECTIONS];
    struct pollfd watched[HTTP_CONNECTIONS + 1] = { { .fd = smpp, .events = POLLIN } };
    Buffer in = { 0 }, out = { 0 };
    char body[400], callback[2000], form[1200];
    /* The fields and headers of a status callback, as wide as they really are. */
    memset(form, 'x', sizeof form);
    int form_bytes = sprintf(form, "AccountSid=AC%032d&ApiVersion=2010-04-01&From=%%2B15005550006&MessageSid=SM%032d"
        "&MessageStatus=delivered&RawDlrDoneDate=2311230000&SmsSid=SM%032d&SmsStatus=delivered&To=%%2B14150000000", 0, 0, 0);
    int callback_bytes = sprintf(callback, "POST /status HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: drive\r\n"
        "Accept: */*\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
        "I-Twilio-Idempotency-Token: %036d\r\nX-Twilio-Signature: %028d\r\nContent-Length: %d\r\n\r\n%s", 0, 0, form_bytes, form);
    for (int place = 0; place < HTTP_CONNECTIONS; place++) {
        watched[place + 1] = (struct pollfd){ .fd = connected(arguments[2]), .events = POLLIN };
        is_idle[place] = 1;
    }
    append_pdu(&out, BIND_TRANSCEIVER, 0, 1, "bench\0bench\0\0\x34\0\0", 17);
    send_out(smpp, &out);
    double start = seconds(), end = start + length, last = start;
    while (last < end) {
        while (open < window && owed < BEHIND_MAX) {
            append_pdu(&out, SUBMIT_SM, 0, (uint32_t)(submitted + 2), body, submit_body(body, submitted));
            submitted++, open++;
        }
        send_out(smpp, &out);
        for (int place = 0; place < HTTP_CONNECTIONS && owed > 0; place++)
            if (is_idle[place]) {
                if (write(watched[place + 1].fd, callback, (size_t)callback_bytes) != callback_bytes)
                    return 1;
                is_idle[place] = 0, owed--;
            }
        watched[0].events = (short)(POLLIN | (filled(&out) > 0 ? POLLOUT : 0));
        poll(watched, HTTP_CONNECTIONS + 1, 100);
        for (int place = 0; place < HTTP_CONNECTIONS; place++)
            if (watched[place + 1].revents & POLLIN) {
                char answer[512];
                if (read(watched[place + 1].fd, answer, sizeof answer) <= 0)
                    return 1;
                is_idle[place] = 1, called++;
            }
        if (watched[0].revents & POLLIN) {
            ssize_t got = read(smpp, room(&in, 65536), 65536);
            if (got <= 0)
                return 1;
            in.to += (size_t)got;
            while (filled(&in) >= HEADER && filled(&in) >= number_at(in.bytes + in.from)) {
                const char *pdu = in.bytes + in.from;
                uint32_t command = number_at(pdu + 4);
                if (command == (SUBMIT_SM | RESPONSE))
                    open--;
                else if (command == DELIVER_SM) {
                    append_pdu(&out, DELIVER_SM | RESPONSE, 0, number_at(pdu + 12), "", 1);
                    owed++;
                }
                in.from += number_at(pdu);
            }
        }
        last = seconds();
    }
    printf("{\"messages_per_s\": %.0f, \"submitted\": %lu, \"called_back\": %lu}\n", (double)called / (last - start),
           submitted, called);
    return 0;
}
