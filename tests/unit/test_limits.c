// Control groups as containers, systemd and plain hosts show them, as trees of files: what binds
// this process is found, wherever it stands, and named.
#define _GNU_SOURCE // sched_getaffinity, CPU_COUNT
#include "base/file.h"
#include "base/limits.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *root;
static struct errmsg msg;

static void put(const char *path, const char *text) {
    char full[512], folder[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    snprintf(folder, sizeof folder, "%s", full);
    *strrchr(folder, '/') = '\0';
    CHECK_OK(file_make_dirs(folder, &msg), msg);
    FILE *f = fopen(full, "w");
    if (CHECK(f != NULL)) {
        fputs(text, f);
        fclose(f);
    }
}

// A new tree: what /proc/self says of the groups, and a machine of 64 GiB.
static void begin(const char *cgroup, const char *mountinfo) {
    scratch_remove(root);
    put("/proc/self/cgroup", cgroup);
    put("/proc/self/mountinfo", mountinfo);
    put("/proc/meminfo", "MemTotal:       67108864 kB\nMemFree:  1 kB\nHugePages_Total:   0\n");
}

static void expect(size_t mib, const char *source, const char *where) {
    struct limits_memory m;
    limits_read_memory(root, &m);
    if (!CHECK(m.bytes == mib << 20 && strcmp(m.source, source) == 0))
        fprintf(stderr, "    %s: %zu bytes by %s\n", where, m.bytes, m.source);
}

#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

static void test_v2(void) {
    begin("0::/\n", V2_MOUNT);
    expect(65536, "the machine's memory", "no limit at all");
    // a container with a name space of its own sees its group as the root
    put("/sys/fs/cgroup/memory.max", "471859200\n");
    expect(450, "memory.max of the control group /", "a container");

    // systemd: the unit's own group, three below the root, and a slice above that is narrower
    begin("0::/system.slice/trine.service\n", V2_MOUNT);
    put("/sys/fs/cgroup/system.slice/trine.service/memory.max", "1073741824\n");
    expect(1024, "memory.max of the control group /system.slice/trine.service", "a unit");
    put("/sys/fs/cgroup/system.slice/memory.max", "536870912\n");
    expect(512, "memory.max of the control group /system.slice", "its slice");
    put("/sys/fs/cgroup/system.slice/memory.max", "max\n");
    expect(1024, "memory.max of the control group /system.slice/trine.service", "max");
    put("/sys/fs/cgroup/system.slice/trine.service/memory.high", "268435456\n");
    expect(256, "memory.high of the control group /system.slice/trine.service", "high");

    // what is no number is no limit, and no reason to fail
    begin("0::/a\n", V2_MOUNT);
    put("/sys/fs/cgroup/a/memory.max", "much\n");
    put("/sys/fs/cgroup/memory.max", "-1\n");
    expect(65536, "the machine's memory", "nonsense");
}

static void test_v1(void) {
    const char *mounts =
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
    begin("5:memory:/outer/inner\n2:cpu,cpuacct:/\n1:name=systemd:/x\n", mounts);
    put("/sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", "9223372036854771712\n");
    expect(65536, "the machine's memory", "version 1 without a limit");
    put("/sys/fs/cgroup/memory/outer/memory.limit_in_bytes", "314572800\n");
    expect(300, "memory.limit_in_bytes of the control group /outer", "the group above");
    put("/sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes", "209715200\n");
    expect(200, "memory.limit_in_bytes of the control group /outer/inner", "its own");

    // docker without a name space: the path is the host's, the mount shows the container's group
    begin("5:memory:/docker/0123abcd\n",
          "35 31 0:32 /docker/0123abcd /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "471859200\n");
    expect(450, "memory.limit_in_bytes of the control group /", "docker, version 1");
    // the group above is not mounted, and binds all the same
    put("/sys/fs/cgroup/memory/memory.stat",
        "cache 1\nhierarchical_memory_limit 419430400\nhierarchical_memsw_limit 1\n");
    expect(400, "hierarchical_memory_limit of the control group /", "what no mount shows");
}

static void test_odd_mounts(void) {
    // both versions at once, the memory controller in version 1
    begin("4:memory:/m\n1:cpu:/c\n0::/u\n",
          "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
          "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "104857600\n");
    expect(100, "memory.limit_in_bytes of the control group /m", "hybrid, by version 1");
    put("/sys/fs/cgroup/unified/u/memory.max", "52428800\n");
    expect(50, "memory.max of the control group /u", "hybrid, by version 2");

    // mounted elsewhere, at a place with a space in its name
    begin("0::/a\n", "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n");
    put("/my groups/a/memory.max", "104857600\n");
    expect(100, "memory.max of the control group /a", "mounted elsewhere");

    // a process outside of its name space's root, and a mount of another part: the mount's top
    begin("0::/../other\n", V2_MOUNT);
    put("/sys/fs/cgroup/memory.max", "104857600\n");
    expect(100, "memory.max of the control group /", "outside of the name space");
    begin("0::/kubepods/pod1/c\n", "30 23 0:26 /kubepods/pod2 /sys/fs/cgroup rw - cgroup2 x rw\n");
    put("/sys/fs/cgroup/memory.max", "104857600\n");
    expect(100, "memory.max of the control group /", "another part");
    // a name that only begins as the mount's root does is not below it
    begin("0::/pod12\n", "30 23 0:26 /pod1 /sys/fs/cgroup rw - cgroup2 x rw\n");
    put("/sys/fs/cgroup/2/memory.max", "104857600\n");
    expect(65536, "the machine's memory", "a longer name");

    // two mounts of one hierarchy: the one that shows the process's group
    begin("0::/a/b\n",
          "30 23 0:26 /x /one rw - cgroup2 x rw\n31 23 0:26 / /two rw - cgroup2 x rw\n");
    put("/two/a/b/memory.max", "104857600\n");
    expect(100, "memory.max of the control group /a/b", "the better mount");

    // no /proc at all
    begin("", "");
    expect(65536, "the machine's memory", "nothing");
}

static void test_cpus(void) {
    cpu_set_t set;
    CHECK_INT(sched_getaffinity(0, sizeof set, &set), 0);
    int all = CPU_COUNT(&set);
    begin("0::/a/b\n", V2_MOUNT);
    CHECK_INT(limits_read_cpus(root), all);
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    CHECK_INT(limits_read_cpus(root), all);
    put("/sys/fs/cgroup/a/cpu.max", "50000 100000\n"); // half of one: one
    CHECK_INT(limits_read_cpus(root), 1);
    put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    CHECK_INT(limits_read_cpus(root), all < 2 ? all : 2);

    begin("2:cpu,cpuacct:/docker/c\n",
          "32 31 0:29 /docker/c /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    CHECK_INT(limits_read_cpus(root), all);
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
    CHECK_INT(limits_read_cpus(root), 1);
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "0\n");
    CHECK_INT(limits_read_cpus(root), all);
}

static void test_resource_limits(void) {
    struct rlimit old, low;
    begin("0::/\n", V2_MOUNT);
    CHECK_INT(getrlimit(RLIMIT_DATA, &old), 0);
    low = (struct rlimit){.rlim_cur = (rlim_t)3 << 30, .rlim_max = old.rlim_max};
    CHECK_INT(setrlimit(RLIMIT_DATA, &low), 0);
    expect(3072, "RLIMIT_DATA (ulimit -d)", "RLIMIT_DATA");
    CHECK_INT(setrlimit(RLIMIT_DATA, &old), 0);
    expect(65536, "the machine's memory", "without it");
}

int main(void) {
    root = scratch_folder();
    test_v2();
    test_v1();
    test_odd_mounts();
    test_cpus();
    test_resource_limits();
    struct limits_memory m;
    limits_read_memory("", &m); // this machine's own
    CHECK(m.bytes > 1 << 20 && m.source[0] && limits_read_cpus("") >= 1);
    CHECK(limits_resident() > 100000 && limits_resident() < m.bytes);
    return check_done();
}
