/* Two V4L2 devices that no kernel module stands behind, for LD_PRELOAD in a test's subprocess.
 *
 * FAKE_V4L2_CAMERA=/dev/video0:FILE   a webcam. FILE is "WIDTH HEIGHT FPS\n" and then raw YUYV frames, played in a loop.
 *     Into each frame, when it is taken, a clock is painted: 32 squares along the top, the bits (lowest first) of
 *     CLOCK_MONOTONIC in milliseconds. While FILE.stall exists no frame comes.
 * FAKE_V4L2_OUTPUT=/dev/video9:FILE   a v4l2loopback device. Every frame written to it is appended to FILE behind
 *     16 bytes: CLOCK_MONOTONIC in ns and the length (int64 each).
 * FAKE_V4L2_OUTPUT_SIZE=WIDTHxHEIGHT  the loopback keeps this size, whatever is asked of it.
 * FAKE_V4L2_OUTPUT_FPS=RATE           and this rate; without it the one asked for is taken. FILE.rate holds what it has.
 *
 * The file is the device: once it is unlinked the device is gone (ENODEV on what is open, ENOENT on open), a new file
 * under the name is a device plugged in again.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FDS 1024
#define BUFFERS 4
#define SQUARE 16

enum { NONE, CAMERA, OUTPUT };

typedef struct {
    int kind;
    ino_t inode;                 /* of the file it was opened as */
    unsigned width, height, fps; /* camera */
    size_t frame_bytes, slot_bytes;
    FILE *film;
    long film_begins;
    uint8_t *memory; /* the memfd's, all buffers */
    int waiting[BUFFERS], waiting_count;
    int64_t due_ns;
    unsigned sequence;
} Device;

static Device devices[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns) {
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static const char *file_of(int kind) {
    const char *both = getenv(kind == CAMERA ? "FAKE_V4L2_CAMERA" : "FAKE_V4L2_OUTPUT");
    const char *colon = both ? strchr(both, ':') : NULL;
    return colon ? colon + 1 : NULL;
}

static int kind_of(const char *node) {
    for (int kind = CAMERA; kind <= OUTPUT; kind++) {
        const char *both = getenv(kind == CAMERA ? "FAKE_V4L2_CAMERA" : "FAKE_V4L2_OUTPUT");
        const char *colon = both ? strchr(both, ':') : NULL;
        if (colon && strlen(node) == (size_t)(colon - both) && !strncmp(node, both, colon - both)) return kind;
    }
    return NONE;
}

static int gone(const Device *d) {
    struct stat now;
    const char *file = file_of(d->kind);
    return !file || stat(file, &now) || now.st_ino != d->inode;
}

static Device *device(int fd) { return fd >= 0 && fd < FDS && devices[fd].kind ? &devices[fd] : NULL; }

typedef int (*Open)(const char *, int, ...);

static int open_camera(Open real, const char *file) {
    int film = real(file, O_RDONLY | O_CLOEXEC);
    if (film < 0) return -1;
    Device d = {.kind = CAMERA};
    struct stat info;
    fstat(film, &info);
    d.inode = info.st_ino;
    d.film = fdopen(film, "rb");
    if (fscanf(d.film, "%u %u %u", &d.width, &d.height, &d.fps) != 3 || fgetc(d.film) != '\n') {
        fclose(d.film);
        errno = ENODEV;
        return -1;
    }
    d.film_begins = ftell(d.film);
    d.frame_bytes = (size_t)d.width * d.height * 2;
    d.slot_bytes = (d.frame_bytes + 4095) & ~(size_t)4095;
    int fd = memfd_create("fake camera", MFD_CLOEXEC);
    if (fd < 0 || fd >= FDS || ftruncate(fd, BUFFERS * d.slot_bytes)) return -1;
    d.memory = mmap(NULL, BUFFERS * d.slot_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    devices[fd] = d;
    return fd;
}

static int open_output(Open real, const char *file) {
    int fd = real(file, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || fd >= FDS) return -1;
    struct stat info;
    fstat(fd, &info);
    devices[fd] = (Device){.kind = OUTPUT, .inode = info.st_ino};
    return fd;
}

static int fake_open(const char *name, const char *node, int flags, mode_t mode) {
    Open real = (Open)dlsym(RTLD_NEXT, name);
    int kind = kind_of(node);
    if (kind == NONE && !strncmp(node, "/dev/video", 10)) { /* none of this machine's own devices takes part */
        errno = ENOENT;
        return -1;
    }
    if (kind == NONE) return real(node, flags, mode);
    pthread_mutex_lock(&lock);
    int fd = kind == CAMERA ? open_camera(real, file_of(kind)) : open_output(real, file_of(kind));
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                        \
    int name(const char *node, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        return fake_open(#name, node, flags, mode);       \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "close");
    pthread_mutex_lock(&lock);
    Device *d = device(fd);
    if (d) {
        if (d->film) fclose(d->film);
        if (d->memory) munmap(d->memory, BUFFERS * d->slot_bytes);
        memset(d, 0, sizeof *d);
    }
    pthread_mutex_unlock(&lock);
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    Device *d = device(fd);
    if (!d || d->kind != OUTPUT) return real(fd, data, length);
    if (gone(d)) {
        errno = ENODEV;
        return -1;
    }
    int64_t head[2] = {now_ns(), (int64_t)length};
    if (real(fd, head, sizeof head) != sizeof head) return -1;
    return real(fd, data, length);
}

static void paint_clock(const Device *d, uint8_t *yuyv, uint32_t ms) {
    for (unsigned y = 0; y < SQUARE && y < d->height; y++)
        for (unsigned x = 0; x < 32 * SQUARE && x < d->width; x++) {
            uint8_t *pixel = yuyv + (y * d->width + x) * 2;
            pixel[0] = ms >> (x / SQUARE) & 1 ? 235 : 16;
            pixel[1] = 128;
        }
}

static int take(Device *d, struct v4l2_buffer *buffer) {
    char stall[4096];
    snprintf(stall, sizeof stall, "%s.stall", file_of(CAMERA));
    int64_t interval = 1000000000 / d->fps;
    d->due_ns = d->due_ns + interval > now_ns() - interval ? d->due_ns + interval : now_ns();
    sleep_until(d->due_ns);
    while (!access(stall, F_OK) && !gone(d)) sleep_until(now_ns() + interval);
    if (gone(d)) {
        errno = ENODEV;
        return -1;
    }
    if (!d->waiting_count) {
        errno = EAGAIN;
        return -1;
    }
    unsigned index = d->waiting[0];
    memmove(d->waiting, d->waiting + 1, sizeof(int) * --d->waiting_count);
    uint8_t *yuyv = d->memory + index * d->slot_bytes;
    if (fread(yuyv, 1, d->frame_bytes, d->film) != d->frame_bytes) {
        fseek(d->film, d->film_begins, SEEK_SET);
        if (fread(yuyv, 1, d->frame_bytes, d->film) != d->frame_bytes) memset(yuyv, 128, d->frame_bytes);
    }
    int64_t taken = now_ns();
    paint_clock(d, yuyv, (uint32_t)(taken / 1000000));
    buffer->index = index;
    buffer->bytesused = d->frame_bytes;
    buffer->length = d->slot_bytes;
    buffer->sequence = d->sequence++;
    buffer->timestamp.tv_sec = taken / 1000000000;
    buffer->timestamp.tv_usec = taken % 1000000000 / 1000;
    return 0;
}

static void describe(const Device *d, struct v4l2_format *format) {
    struct v4l2_pix_format *pix = &format->fmt.pix;
    pix->width = d->width;
    pix->height = d->height;
    pix->pixelformat = V4L2_PIX_FMT_YUYV;
    pix->field = V4L2_FIELD_NONE;
    pix->bytesperline = d->width * 2;
    pix->sizeimage = d->frame_bytes;
}

static int camera_ioctl(Device *d, unsigned request, void *about) {
    struct v4l2_buffer *buffer = about;
    struct v4l2_streamparm *parm = about;
    switch (request) {
    case (unsigned)VIDIOC_G_FMT:
    case (unsigned)VIDIOC_S_FMT: /* it has one size and one format, whatever is asked of it */
    case (unsigned)VIDIOC_TRY_FMT: describe(d, about); return 0;
    case (unsigned)VIDIOC_G_PARM:
    case (unsigned)VIDIOC_S_PARM:
        parm->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        parm->parm.capture.timeperframe = (struct v4l2_fract){1, d->fps};
        return 0;
    case (unsigned)VIDIOC_REQBUFS:
        d->waiting_count = 0;
        if (((struct v4l2_requestbuffers *)about)->count > BUFFERS) ((struct v4l2_requestbuffers *)about)->count = BUFFERS;
        return 0;
    case (unsigned)VIDIOC_QUERYBUF:
        buffer->length = d->slot_bytes;
        buffer->m.offset = buffer->index * d->slot_bytes;
        return 0;
    case (unsigned)VIDIOC_QBUF:
        if (d->waiting_count < BUFFERS) d->waiting[d->waiting_count++] = buffer->index;
        return 0;
    case (unsigned)VIDIOC_DQBUF: return take(d, buffer);
    case (unsigned)VIDIOC_STREAMON: d->due_ns = now_ns(); return 0;
    case (unsigned)VIDIOC_STREAMOFF: return 0;
    }
    errno = ENOTTY;
    return -1;
}

static int set_rate(struct v4l2_streamparm *parm) {
    char name[4096];
    const char *fixed = getenv("FAKE_V4L2_OUTPUT_FPS");
    struct v4l2_fract *interval = &parm->parm.output.timeperframe;
    if (fixed) *interval = (struct v4l2_fract){1, atoi(fixed)};
    snprintf(name, sizeof name, "%s.rate", file_of(OUTPUT));
    FILE *note = fopen(name, "w");
    if (!note) return -1;
    fprintf(note, "%u/%u", interval->denominator, interval->numerator);
    return fclose(note);
}

static int output_ioctl(unsigned request, struct v4l2_format *format) {
    static unsigned width, height; /* the device's, whoever opened it */
    const char *fixed = getenv("FAKE_V4L2_OUTPUT_SIZE");
    if (request == (unsigned)VIDIOC_S_PARM) return set_rate((struct v4l2_streamparm *)format);
    if (request == (unsigned)VIDIOC_S_FMT) width = format->fmt.pix.width, height = format->fmt.pix.height;
    if (fixed) sscanf(fixed, "%ux%u", &width, &height);
    if (request == (unsigned)VIDIOC_S_FMT || request == (unsigned)VIDIOC_G_FMT) {
        format->fmt.pix.width = width;
        format->fmt.pix.height = height;
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

int ioctl(int fd, unsigned long request, ...) {
    int (*real)(int, unsigned long, ...) = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    va_list rest;
    va_start(rest, request);
    void *about = va_arg(rest, void *);
    va_end(rest);
    Device *d = device(fd);
    if (!d) return real(fd, request, about);
    if (gone(d)) {
        errno = ENODEV;
        return -1;
    }
    if ((unsigned)request == (unsigned)VIDIOC_QUERYCAP) { /* some callers sign-extend the request number */
        struct v4l2_capability *cap = about;
        memset(cap, 0, sizeof *cap);
        unsigned can = V4L2_CAP_READWRITE | (d->kind == CAMERA ? V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING : V4L2_CAP_VIDEO_OUTPUT);
        strcpy((char *)cap->driver, d->kind == CAMERA ? "fake" : "v4l2 loopback");
        strcpy((char *)cap->card, d->kind == CAMERA ? "fake camera" : "fake loopback");
        cap->capabilities = can | V4L2_CAP_DEVICE_CAPS;
        cap->device_caps = can;
        return 0;
    }
    if (d->kind == CAMERA) return camera_ioctl(d, (unsigned)request, about);
    return output_ioctl((unsigned)request, about);
}
