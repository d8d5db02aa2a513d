/* A plugin of qemu's user mode: how often each block of instructions runs between two marks.
 *
 * The program under test marks by asking for the session of a process that cannot be: getsid(-8001)
 * begins (counts from nothing), getsid(-8002) ends and writes "address instructions times" per block
 * to the file given as out=FILE. Blocks only: what their instructions are is read from the library's
 * file later.
 *
 * qemu's header is not packaged by Debian, so what is used of it is declared here. The interface is
 * that of qemu 5 and later; each release accepts a range of versions, 7.2 (Debian 12) has 1.
 *
 *   cc -O2 -shared -fPIC -o count.so count.c
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { NO_REGISTERS = 0 };
typedef void (*on_block)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_run)(unsigned int, void *);
typedef void (*on_syscall)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_block);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, on_run, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, on_syscall);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

#ifndef VERSION
#define VERSION 1
#endif
__attribute__((visibility("default"))) int qemu_plugin_version = VERSION;

enum { GETSID = 156 }; /* arm64 */
static const int64_t BEGIN = -8001, END = -8002;

struct block {
  uint64_t address, instructions, times;
  struct block *next;
};
static struct block *blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char path[4096];

/* One thread runs between the marks; the counts are not atomic. */
static void ran(unsigned int cpu, void *block) {
  (void)cpu;
  ((struct block *)block)->times++;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  struct block *made = calloc(1, sizeof *made);
  if (!made) abort();
  made->address = qemu_plugin_tb_vaddr(tb);
  made->instructions = qemu_plugin_tb_n_insns(tb);
  pthread_mutex_lock(&lock);
  made->next = blocks;
  blocks = made;
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, ran, NO_REGISTERS, made);
}

static void write_counts(void) {
  FILE *out = fopen(path, "w");
  if (!out) {
    perror(path);
    exit(1);
  }
  for (struct block *b = blocks; b; b = b->next)
    if (b->times)
      fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", b->address, b->instructions, b->times);
  fclose(out);
}

static void called(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != GETSID) return;
  int64_t mark = (int32_t)a1;
  pthread_mutex_lock(&lock);
  if (mark == BEGIN)
    for (struct block *b = blocks; b; b = b->next) b->times = 0;
  if (mark == END) write_counts();
  pthread_mutex_unlock(&lock);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info,
                                                               int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "out=", 4)) snprintf(path, sizeof path, "%s", argv[i] + 4);
  if (!*path) {
    fputs("count: say where to: out=FILE\n", stderr);
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
