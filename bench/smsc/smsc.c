/*
 * An SMSC and a sink of status callbacks, in one thread, for measurements on one machine.
 *
 * The SMSC takes every bind, answers each submit_sm at once and brings a receipt where one is asked for, at once or
 * after a delay. A receipt is repeated when its connection ends before it was answered, as a real SMSC would. The sink
 * answers every request with 200 and counts those that tell of a message's end: MessageStatus=delivered, undelivered,
 * failed or canceled, or Kannel's s=1 and s=2. GET /stats answers the counters and is not counted; GET /mark does so too,
 * and the times of the first submit_sm and the first final callback start anew.
 *
 *   smsc [-d MS] [-w N] [-l FILE] [-r FILE] [-p PORT] [-h PORT] [-2] [-f] [-t N] [-m N] [-c N] [-e N]
 *     -p, -h   ports of the SMSC and of the sink, which are any free ones else
 *     -d MS    time from the answer to the receipt
 *     -w N     receipts without an answer, on each connection (2000)
 *     -l FILE  a line for each callback, "C id status token", and for each submit_sm, "S recipient id"
 *     -r FILE  the first 200 callbacks as they came
 *   and what SMSCs do wrong:
 *     -2       each receipt comes twice
 *     -f       the receipt comes before the answer to its submit_sm
 *     -t N     each Nth submit_sm is answered with ESME_RTHROTTLED
 *     -m N     each Nth submit_sm is never answered, though it is delivered and its receipt comes
 *     -c N     after each N submit_sm the connection is closed, and the last one has no answer
 *     -e N     each Nth callback is answered with 503
 *
 * It prints {"smpp": PORT, "http": PORT} once it listens, and ends at SIGTERM.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 16384, PDU_MAX = 70000, REQUEST_MAX = 1 << 20, RAW_MAX = 200, ADDRESS_MAX = 24 };

typedef struct { unsigned char ton, npi; char digits[ADDRESS_MAX]; } Address;

/* A message that has reached its handset, of which the client shall hear. */
typedef struct { double due; uint64_t id; int origin; Address sender, recipient; } Receipt;

typedef struct {
    int fd, is_smpp, is_receiver, wants_write, is_ending;
    Buffer in, out;
    uint32_t sequence, answered;
    /* Receipts without an answer: those of the sequence numbers from answered + 1 to sequence. */
    Receipt *open;
    unsigned char *is_open;
    uint64_t submits;
} Peer;

static Peer *peers[CONNECTIONS_MAX];
static int poller, smpp_listener, http_listener, fd_top;
static double delay_s;
static uint32_t receipts_open_max = 2000;
static int is_twice, is_first;
static uint64_t throttle_each, mute_each, close_each, error_each;
static FILE *log_file, *raw_file;
static volatile sig_atomic_t is_over;

static struct { Receipt *items; size_t head, count, size; } waiting;
static struct {
    uint64_t binds, submits, throttled, muted, closed, receipts, receipts_answered, callbacks, finals, refused;
    double first_submit, last_submit, first_final, last_final;
} seen;

static void wait_for_its_time(const Receipt *receipt)
{
    if (waiting.count == waiting.size) {
        size_t size = waiting.size ? waiting.size * 2 : 4096;
        Receipt *items = malloc(size * sizeof *items);
        if (items == NULL)
            abort();
        for (size_t place = 0; place < waiting.count; place++)
            items[place] = waiting.items[(waiting.head + place) % waiting.size];
        free(waiting.items);
        waiting.items = items, waiting.head = 0, waiting.size = size;
    }
    waiting.items[(waiting.head + waiting.count++) % waiting.size] = *receipt;
}

/* ---- connections */

static void watch(Peer *peer, int wants_write)
{
    if (peer->wants_write == wants_write)
        return;
    peer->wants_write = wants_write;
    struct epoll_event event = { .events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.fd = peer->fd };
    epoll_ctl(poller, EPOLL_CTL_MOD, peer->fd, &event);
}

static void hang_up(Peer *peer)
{
    for (uint32_t number = peer->answered + 1; peer->open && number <= peer->sequence; number++)
        if (peer->is_open[number % receipts_open_max]) {
            Receipt *receipt = &peer->open[number % receipts_open_max];
            receipt->origin = -1;
            receipt->due = seconds();
            wait_for_its_time(receipt);
        }
    peers[peer->fd] = NULL;
    close(peer->fd);
    free(peer->in.bytes);
    free(peer->out.bytes);
    free(peer->open);
    free(peer->is_open);
    free(peer);
}

static int send_out(Peer *peer)
{
    while (filled(&peer->out) > 0) {
        ssize_t sent = write(peer->fd, peer->out.bytes + peer->out.from, filled(&peer->out));
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            watch(peer, 1);
            return 0;
        }
        if (sent < 0)
            return -1;
        peer->out.from += (size_t)sent;
    }
    watch(peer, 0);
    return peer->is_ending ? -1 : 0;
}

static void take_connections(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0)
            return;
        Peer *peer = fd < CONNECTIONS_MAX ? calloc(1, sizeof *peer) : NULL;
        if (peer == NULL) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peer->fd = fd;
        peer->is_smpp = listener == smpp_listener;
        peers[fd] = peer;
        if (fd >= fd_top)
            fd_top = fd + 1;
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* ---- receipts */

static void append_address(Buffer *body, const Address *address)
{
    char head[2] = { (char)address->ton, (char)address->npi };
    append(body, head, 2);
    append(body, address->digits, strlen(address->digits) + 1);
}

static void bring(Peer *peer, const Receipt *receipt)
{
    static Buffer body;
    static char stamp[12];
    static time_t stamped;
    char text[200], id[24];
    time_t now = time(NULL);
    if (now != stamped) {
        struct tm parts;
        strftime(stamp, sizeof stamp, "%y%m%d%H%M", gmtime_r(&now, &parts));
        stamped = now;
    }
    int id_bytes = snprintf(id, sizeof id, "%llu", (unsigned long long)receipt->id) + 1;
    int text_bytes = snprintf(text, sizeof text,
        "id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:DELIVRD err:000 text:", id, stamp, stamp);
    body.from = body.to = 0;
    append(&body, "", 1);
    append_address(&body, &receipt->recipient);
    append_address(&body, &receipt->sender);
    /* esm_class 4 is a receipt; protocol_id to sm_default_msg_id are nothing. */
    append(&body, "\4\0\0\0\0\0\0\0\0", 9);
    char length = (char)text_bytes;
    append(&body, &length, 1);
    append(&body, text, (size_t)text_bytes);
    char parameter[4] = { 0x00, 0x1E, 0, (char)id_bytes };
    append(&body, parameter, 4);
    append(&body, id, (size_t)id_bytes);
    append(&body, "\x04\x27\0\1\2", 5);
    peer->sequence++;
    peer->open[peer->sequence % receipts_open_max] = *receipt;
    peer->is_open[peer->sequence % receipts_open_max] = 1;
    append_pdu(&peer->out, DELIVER_SM, 0, peer->sequence, body.bytes, body.to);
    seen.receipts++;
}

static int has_room(const Peer *peer)
{
    return peer != NULL && peer->is_receiver && peer->sequence - peer->answered < receipts_open_max;
}

/* Bring what is due, over the connection that it was submitted on or any other that is there. */
static void bring_due(void)
{
    static int turn;
    double now = seconds();
    while (waiting.count > 0) {
        Receipt *receipt = &waiting.items[waiting.head];
        if (receipt->due > now)
            return;
        Peer *peer = receipt->origin >= 0 ? peers[receipt->origin] : NULL;
        if (!has_room(peer)) {
            peer = NULL;
            for (int step = 1; step <= fd_top && peer == NULL; step++)
                if (has_room(peers[(turn + step) % fd_top])) {
                    turn = (turn + step) % fd_top;
                    peer = peers[turn];
                }
        }
        if (peer == NULL)
            return;
        bring(peer, receipt);
        waiting.head = (waiting.head + 1) % waiting.size;
        waiting.count--;
        if (filled(&peer->out) > 60000 || waiting.count == 0 || waiting.items[waiting.head].due > now)
            if (send_out(peer) < 0)
                hang_up(peer);
    }
}

static void receipt_is_answered(Peer *peer, uint32_t sequence)
{
    if (peer->open == NULL || sequence - peer->answered - 1 >= peer->sequence - peer->answered)
        return;
    seen.receipts_answered++;
    peer->is_open[sequence % receipts_open_max] = 0;
    while (peer->answered < peer->sequence && !peer->is_open[(peer->answered + 1) % receipts_open_max])
        peer->answered++;
}

/* ---- SMPP */

typedef struct { const char *at, *end; int is_bad; } Reader;

static unsigned octet(Reader *reader)
{
    if (reader->at >= reader->end) {
        reader->is_bad = 1;
        return 0;
    }
    return (unsigned char)*reader->at++;
}

static const char *string(Reader *reader)
{
    const char *start = reader->at;
    const char *zero = reader->at < reader->end ? memchr(start, 0, (size_t)(reader->end - start)) : NULL;
    if (zero == NULL) {
        reader->is_bad = 1;
        return "";
    }
    reader->at = zero + 1;
    return start;
}

static void read_address(Reader *reader, Address *address)
{
    address->ton = (unsigned char)octet(reader);
    address->npi = (unsigned char)octet(reader);
    const char *digits = string(reader);
    if (strlen(digits) >= ADDRESS_MAX)
        reader->is_bad = 1;
    else
        strcpy(address->digits, digits);
}

static int is_nth(uint64_t number, uint64_t each) { return each > 0 && number % each == 0; }

/* Returns -1 where the connection shall end. */
static int take_submit(Peer *peer, Reader reader, uint32_t sequence)
{
    Receipt receipt = { .origin = peer->fd };
    string(&reader);
    read_address(&reader, &receipt.sender);
    read_address(&reader, &receipt.recipient);
    octet(&reader), octet(&reader), octet(&reader);
    string(&reader), string(&reader);
    int wants_receipt = octet(&reader) & 1;
    if (reader.is_bad) {
        append_pdu(&peer->out, SUBMIT_SM | RESPONSE, 0x02, sequence, "", 1);
        return 0;
    }
    uint64_t number = ++seen.submits;
    seen.last_submit = seconds();
    if (seen.first_submit == 0)
        seen.first_submit = seen.last_submit;
    if (is_nth(number, throttle_each)) {
        seen.throttled++;
        append_pdu(&peer->out, SUBMIT_SM | RESPONSE, 0x58, sequence, "", 1);
        return 0;
    }
    receipt.id = 1000000 + number;
    receipt.due = seen.last_submit + delay_s;
    char id[24];
    int id_bytes = snprintf(id, sizeof id, "%llu", (unsigned long long)receipt.id) + 1;
    if (log_file != NULL)
        fprintf(log_file, "S %s %s\n", receipt.recipient.digits, id);
    int is_cut = is_nth(++peer->submits, close_each), is_muted = is_nth(number, mute_each);
    if (wants_receipt && is_first && has_room(peer))
        bring(peer, &receipt);
    else if (wants_receipt)
        wait_for_its_time(&receipt);
    if (!is_cut && !is_muted)
        append_pdu(&peer->out, SUBMIT_SM | RESPONSE, 0, sequence, id, (size_t)id_bytes);
    if (wants_receipt && is_twice)
        wait_for_its_time(&receipt);
    seen.muted += (uint64_t)is_muted;
    seen.closed += (uint64_t)is_cut;
    return is_cut ? -1 : 0;
}

static int take_pdus(Peer *peer)
{
    while (filled(&peer->in) >= HEADER) {
        const char *pdu = peer->in.bytes + peer->in.from;
        uint32_t length = number_at(pdu), command = number_at(pdu + 4), sequence = number_at(pdu + 12);
        if (length < HEADER || length > PDU_MAX)
            return -1;
        if (filled(&peer->in) < length)
            break;
        switch (command) {
        case BIND_RECEIVER: case BIND_TRANSMITTER: case BIND_TRANSCEIVER:
            seen.binds++;
            peer->is_receiver = command != BIND_TRANSMITTER;
            if (peer->is_receiver && peer->open == NULL) {
                peer->open = calloc(receipts_open_max, sizeof *peer->open);
                peer->is_open = calloc(receipts_open_max, 1);
                if (peer->open == NULL || peer->is_open == NULL)
                    abort();
            }
            append_pdu(&peer->out, command | RESPONSE, 0, sequence, "smsc", 5);
            break;
        case SUBMIT_SM:
            if (take_submit(peer, (Reader){ pdu + HEADER, pdu + length, 0 }, sequence) < 0) {
                peer->is_ending = 1;
                send_out(peer);
                return -1;
            }
            break;
        case DELIVER_SM | RESPONSE:
            receipt_is_answered(peer, sequence);
            break;
        case ENQUIRE_LINK: case UNBIND:
            append_pdu(&peer->out, command | RESPONSE, 0, sequence, NULL, 0);
            peer->is_receiver &= command != UNBIND;
            peer->is_ending |= command == UNBIND;
            break;
        default:
            if (!(command & RESPONSE))
                append_pdu(&peer->out, GENERIC_NACK, 0x03, sequence, NULL, 0);
        }
        peer->in.from += length;
    }
    return send_out(peer);
}

/* ---- the sink */

/* The value behind a name, up to the next & or blank; its length goes to `count`. */
static const char *value_of(const char *text, size_t bytes, const char *name, size_t *count)
{
    const char *found = memmem(text, bytes, name, strlen(name));
    *count = 0;
    if (found == NULL)
        return "";
    found += strlen(name);
    const char *end = text + bytes;
    while (found + *count < end && strchr("& \r\n", found[*count]) == NULL)
        ++*count;
    return found;
}

static int is_one_of(const char *value, size_t count, const char *names)
{
    const char *found = memmem(names, strlen(names), value, count);
    return count > 0 && found != NULL && found > names && found[-1] == ' ' && found[count] == ' ';
}

static int take_callback(const char *request, size_t head, size_t whole)
{
    size_t sid_bytes, status_bytes, token_bytes;
    const char *status, *sid, *token = "-";
    int is_form = whole > head;
    if (is_form) {
        status = value_of(request + head, whole - head, "MessageStatus=", &status_bytes);
        sid = value_of(request + head, whole - head, "MessageSid=", &sid_bytes);
    } else {
        status = value_of(request, head, "&s=", &status_bytes);
        sid = value_of(request, head, "?id=", &sid_bytes);
    }
    seen.callbacks++;
    if (raw_file != NULL && seen.callbacks <= RAW_MAX)
        fwrite(request, 1, whole, raw_file);
    int is_refused = is_nth(seen.callbacks, error_each);
    seen.refused += (uint64_t)is_refused;
    if (!is_refused && is_one_of(status, status_bytes, is_form ? " delivered undelivered failed canceled " : " 1 2 ")) {
        seen.finals++;
        seen.last_final = seconds();
        if (seen.first_final == 0)
            seen.first_final = seen.last_final;
    }
    if (log_file != NULL) {
        const char *line = strcasestr(request, "\r\nI-Twilio-Idempotency-Token: ");
        token_bytes = 1;
        if (line != NULL && line < request + head)
            token = value_of(line + 30, head, "", &token_bytes);
        fprintf(log_file, "%c %.*s %.*s %.*s\n", is_refused ? 'R' : 'C', (int)sid_bytes, sid, (int)status_bytes, status,
                (int)token_bytes, token);
    }
    return is_refused;
}

static int write_stats(char *text, size_t size)
{
    if (log_file != NULL)
        fflush(log_file);
    if (raw_file != NULL)
        fflush(raw_file);
    return snprintf(text, size,
        "{\"at\": %.6f, \"binds\": %llu, \"submits\": %llu, \"throttled\": %llu, \"muted\": %llu, \"closed\": %llu, "
        "\"receipts\": %llu, \"receipts_answered\": %llu, \"receipts_waiting\": %zu, \"callbacks\": %llu, "
        "\"finals\": %llu, \"refused\": %llu, \"first_submit\": %.6f, \"last_submit\": %.6f, \"first_final\": %.6f, "
        "\"last_final\": %.6f}", seconds(), (unsigned long long)seen.binds, (unsigned long long)seen.submits,
        (unsigned long long)seen.throttled, (unsigned long long)seen.muted, (unsigned long long)seen.closed,
        (unsigned long long)seen.receipts, (unsigned long long)seen.receipts_answered, waiting.count,
        (unsigned long long)seen.callbacks, (unsigned long long)seen.finals, (unsigned long long)seen.refused,
        seen.first_submit, seen.last_submit, seen.first_final, seen.last_final);
}

static int take_requests(Peer *peer)
{
    while (filled(&peer->in) > 0) {
        /* One byte more than there is, so that the text can end in a zero. */
        room(&peer->in, 1)[0] = 0;
        char *request = peer->in.bytes + peer->in.from, *blank = strstr(request, "\r\n\r\n");
        if (filled(&peer->in) > REQUEST_MAX)
            return -1;
        if (blank == NULL)
            break;
        size_t head = (size_t)(blank - request) + 4, body = 0;
        char kept = request[head];
        request[head] = 0;
        const char *length = strcasestr(request, "\r\ncontent-length:"), *stays = strcasestr(request, "\r\nconnection:");
        if (length != NULL)
            body = strtoul(length + 17, NULL, 10);
        int is_last = stays != NULL && strncasecmp(stays + 13 + strspn(stays + 13, " "), "close", 5) == 0;
        request[head] = kept;
        if (body > REQUEST_MAX)
            return -1;
        if (filled(&peer->in) < head + body)
            break;
        char text[1024], answer[1200];
        int text_bytes = 0, is_refused = 0;
        int is_mark = strncmp(request, "GET /mark ", 10) == 0;
        if (is_mark)
            seen.first_submit = seen.first_final = 0;
        if (is_mark || strncmp(request, "GET /stats ", 11) == 0)
            text_bytes = write_stats(text, sizeof text);
        else
            is_refused = take_callback(request, head, head + body);
        int count = snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%.*s",
                             is_refused ? "503 Service Unavailable" : "200 OK", text_bytes,
                             is_last ? "Connection: close\r\n" : "", text_bytes, text);
        append(&peer->out, answer, (size_t)count);
        peer->in.from += head + body;
        peer->is_ending |= is_last;
    }
    return send_out(peer);
}

/* ---- the loop */

static int listen_at(const char *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) {
        perror("smsc");
        exit(1);
    }
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

static void serve(Peer *peer, uint32_t events)
{
    if (events & EPOLLOUT && send_out(peer) < 0) {
        hang_up(peer);
        return;
    }
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    char *to = room(&peer->in, 65536);
    ssize_t got = read(peer->fd, to, 65535);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        peer->in.to += (size_t)got;
    if (got <= 0 || (peer->is_smpp ? take_pdus(peer) : take_requests(peer)) < 0)
        hang_up(peer);
}

static void finish(int number)
{
    (void)number;
    is_over = 1;
}

static FILE *opened(const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    setvbuf(file, NULL, _IOFBF, 1 << 16);
    return file;
}

int main(int count, char **arguments)
{
    const char *smpp_port = "0", *http_port = "0";
    for (int option; (option = getopt(count, arguments, "p:h:d:w:l:r:2ft:m:c:e:")) != -1;) {
        switch (option) {
        case 'p': smpp_port = optarg; break;
        case 'h': http_port = optarg; break;
        case 'd': delay_s = atof(optarg) / 1000; break;
        case 'w': receipts_open_max = (uint32_t)atoi(optarg) > 0 ? (uint32_t)atoi(optarg) : 1; break;
        case 'l': log_file = opened(optarg); break;
        case 'r': raw_file = opened(optarg); break;
        case '2': is_twice = 1; break;
        case 'f': is_first = 1; break;
        case 't': throttle_each = strtoull(optarg, NULL, 10); break;
        case 'm': mute_each = strtoull(optarg, NULL, 10); break;
        case 'c': close_each = strtoull(optarg, NULL, 10); break;
        case 'e': error_each = strtoull(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    struct sigaction ending = { .sa_handler = finish };
    sigaction(SIGTERM, &ending, NULL);
    sigaction(SIGINT, &ending, NULL);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    smpp_listener = listen_at(smpp_port);
    http_listener = listen_at(http_port);
    printf("{\"smpp\": %d, \"http\": %d}\n", port_of(smpp_listener), port_of(http_listener));
    fflush(stdout);
    struct epoll_event events[512];
    while (!is_over) {
        int found = epoll_wait(poller, events, 512, waiting.count > 0 ? 1 : 500);
        for (int place = 0; place < found; place++) {
            int fd = events[place].data.fd;
            if (fd == smpp_listener || fd == http_listener)
                take_connections(fd);
            else if (peers[fd] != NULL)
                serve(peers[fd], events[place].events);
        }
        bring_due();
    }
    char text[1024];
    write_stats(text, sizeof text);
    puts(text);
    return 0;
}
