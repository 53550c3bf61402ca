/* Calls $URL for ever over a new connection each, with the C library's own getaddrinfo, and says when the outcome changes.
 * Build it with: musl-gcc -static -O2 -Wall -Wextra -o musl-client musl.c */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const name = "musl";

/* now is a clock that only goes forward, in milliseconds. */
static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void stop(int signal_number)
{
	(void)signal_number;
	_exit(0);
}

/* target is the URL in its parts. */
struct target {
	char host[256], port[6], authority[300];
	const char *path;
};

/* parse reads http://HOST[:PORT][/PATH]; HOST may be an IPv6 address in brackets. It returns 0 when the URL is of another form. */
static int parse(const char *url, struct target *t)
{
	static const char scheme[] = "http://";
	if (!url || strncmp(url, scheme, sizeof scheme - 1) != 0)
		return 0;
	url += sizeof scheme - 1;
	size_t length = strcspn(url, "/?#");
	if (length == 0 || length >= sizeof t->authority)
		return 0;
	memcpy(t->authority, url, length);
	t->authority[length] = 0;
	t->path = url[length] == '/' ? url + length : "/";

	const char *host = t->authority, *end, *port = "80";
	if (*host == '[') {
		end = strchr(++host, ']');
		if (!end)
			return 0;
		if (end[1] == ':')
			port = end + 2;
	} else {
		end = strchr(host, ':');
		if (end)
			port = end + 1;
		else
			end = host + strlen(host);
	}
	if ((size_t)(end - host) >= sizeof t->host || strlen(port) >= sizeof t->port)
		return 0;
	memcpy(t->host, host, end - host);
	t->host[end - host] = 0;
	strcpy(t->port, port);
	return 1;
}

/* outcome_of says what an error number means. */
static const char *outcome_of(int error)
{
	static char other[64];
	switch (error) {
	case ETIMEDOUT: return "timeout";
	case ECONNREFUSED: return "refused";
	case EHOSTUNREACH:
	case ENETUNREACH: return "no-route";
	case ECONNRESET:
	case EPIPE: return "reset";
	}
	snprintf(other, sizeof other, "other:%s", strerror(error));
	return other;
}

/* ready waits until the socket can be read or written. It returns 0 or an error number. */
static int ready(int socket_fd, short events, long long deadline)
{
	for (;;) {
		long long left = deadline - now();
		if (left <= 0)
			return ETIMEDOUT;
		struct pollfd p = {.fd = socket_fd, .events = events};
		int n = poll(&p, 1, (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return errno;
	}
}

/* dial connects to the first address that takes it. It returns a socket, or -1 with the error number in *error. */
static int dial(const struct addrinfo *addresses, long long deadline, int *error)
{
	for (const struct addrinfo *a = addresses; a; a = a->ai_next) {
		int s = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
		if (s < 0) {
			*error = errno;
			continue;
		}
		*error = connect(s, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
		if (*error == EINPROGRESS) {
			*error = ready(s, POLLOUT, deadline);
			socklen_t size = sizeof *error;
			if (*error == 0)
				getsockopt(s, SOL_SOCKET, SO_ERROR, error, &size);
		}
		if (*error == 0)
			return s;
		close(s);
	}
	return -1;
}

/* exchange sends the request and reads the answer to its end. */
static const char *exchange(int s, const struct target *t, long long deadline)
{
	static char request[4096], answer[4096], status[4];
	int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nConnection: close\r\n\r\n",
			      t->path, t->authority, name);
	if (length >= (int)sizeof request)
		return "other:the URL is too long";
	for (int sent = 0; sent < length;) {
		int error = ready(s, POLLOUT, deadline);
		if (error)
			return outcome_of(error);
		ssize_t n = send(s, request + sent, length - sent, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return outcome_of(errno);
		if (n > 0)
			sent += n;
	}
	size_t kept = 0; /* of the beginning, where the status is */
	for (;;) {
		char rest[4096];
		int error = ready(s, POLLIN, deadline);
		if (error)
			return outcome_of(error);
		ssize_t n = recv(s, rest, sizeof rest, 0);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < 0)
			return outcome_of(errno);
		if (n == 0)
			break;
		size_t take = (size_t)n < sizeof answer - kept ? (size_t)n : sizeof answer - kept;
		memcpy(answer + kept, rest, take);
		kept += take;
	}
	if (kept == 0)
		return "eof";
	if (kept < 12 || strncmp(answer, "HTTP/1.", 7) != 0)
		return "other:the answer is no HTTP";
	memcpy(status, answer + 9, 3);
	return status;
}

static const char *call(const struct target *t)
{
	long long deadline = now() + 1000;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
	if (getaddrinfo(t->host, t->port, &hints, &addresses) != 0)
		return "dns";
	int error = 0;
	int s = dial(addresses, deadline, &error);
	freeaddrinfo(addresses);
	if (s < 0)
		return outcome_of(error);
	const char *outcome = exchange(s, t, deadline);
	close(s);
	return outcome;
}

int main(void)
{
	/* The first process of a container is not ended by a signal that it does not handle. */
	signal(SIGTERM, stop);
	signal(SIGINT, stop);
	setvbuf(stdout, NULL, _IOLBF, 0);

	struct target t;
	if (!parse(getenv("URL"), &t)) {
		fprintf(stderr, "%s: URL must be set to http://HOST[:PORT][/PATH]\n", name);
		return 1;
	}
	char last[96] = "";
	unsigned long long calls = 0, ok = 0;
	for (;;) {
		const char *outcome = call(&t);
		calls++;
		if (outcome[0] == '2')
			ok++;
		if (strcmp(outcome, last) != 0) {
			printf("%s %s\n", name, outcome);
			snprintf(last, sizeof last, "%s", outcome);
		}
		if (calls % 100 == 0)
			printf("%s calls=%llu ok=%llu\n", name, calls, ok);
		nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
	}
}
