#ifndef LUAMQ_CMD_CMD_H
#define LUAMQ_CMD_CMD_H

int cmd_bench(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_record(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_pub(int argc, char **argv);
int cmd_sub(int argc, char **argv);

#endif
