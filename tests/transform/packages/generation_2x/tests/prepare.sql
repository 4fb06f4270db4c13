create database for_tests_by_hand;
